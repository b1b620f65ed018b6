"""Study the clip term alone: identities and moments, a bandit, its exact chain, and a paired counterfactual."""
