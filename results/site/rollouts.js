// One rollout batch played through its updates. Ratios are stored as whole hundredths.
const data = window.ROLLOUTS, at = (id) => document.getElementById(id);
data.groups.forEach((group, i) => at("group").append(new Option(`${i + 1}. ${group.problem}`, String(i))));
Object.entries(data.modes).forEach(([mode, words]) => at("mode").append(new Option(words, mode)));
at("update").max = data.updates;
const kind = (ratio, advantage) => {
  const above = ratio > 100 + 100 * data.epsilon, below = ratio < 100 - 100 * data.epsilon;
  if (!above && !below || advantage === 0) return "";
  return above === advantage > 0 ? (above ? "above" : "below") : "free";
};
const draw = () => {
  const group = data.groups[+at("group").value], mode = at("mode").value, update = +at("update").value;
  let outside = 0, tokens = 0;
  at("cards").replaceChildren(...group.rollouts.map((rollout) => {
    const box = document.createElement("article"), head = document.createElement("h2");
    const facts = document.createElement("p"), written = document.createElement("pre");
    box.className = "card";
    head.textContent = `${rollout.code ? "code" : "language"}, ${rollout.right ? "right" : "wrong"}`;
    facts.className = "source";
    facts.textContent = `${rollout.reward === null ? "all rewards of the group equal" : `reward ${rollout.reward}`}, advantage ${rollout.advantage.toFixed(2).replace("-", "−")}`;
    written.tabIndex = 0;
    rollout.tokens.forEach((token, t) => {
      const span = document.createElement("span"), ratio = rollout.ratios[mode][update][t];
      span.textContent = token;
      span.className = kind(ratio, rollout.advantage);
      span.title = `ratio ${(ratio / 100).toFixed(2)}`;
      if (span.className === "above" || span.className === "below") outside += 1;
      tokens += 1;
      written.append(span);
    });
    box.append(head, facts, written);
    return box;
  }));
  at("state").textContent = `After ${update} of ${data.updates} updates, ${data.modes[mode]}: ${outside} of ${tokens} tokens of this ` +
    `group stand where the clip ${mode === "none" ? "would take" : "takes"} their gradient. Reference answer: ${group.gold}.`;
};
["group", "mode", "update"].forEach((id) => at(id).addEventListener("input", draw));
draw();
