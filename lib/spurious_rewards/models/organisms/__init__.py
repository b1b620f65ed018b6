"""Make model organisms: tiny language models with two reasoning strategies of controlled prior and accuracy."""
