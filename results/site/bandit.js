// Sliders over the precomputed cells of the bandit.
const { axes, cells } = window.BANDIT, names = Object.keys(axes), at = (id) => document.getElementById(id);
const start = { prior: 1, gamma: 1, epsilon: 1, step_size: 2, updates: 2 };
names.forEach((name) => {
  const slider = at(name);
  slider.max = axes[name].length - 1;
  slider.value = Math.min(start[name] ?? 0, axes[name].length - 1);
  slider.addEventListener("input", () => draw());
});
const percent = (x) => `${(100 * x).toFixed(0)} %`;
const signed = (x) => (x >= 0 ? "+" : "−") + Math.abs(x).toFixed(3);
function draw() {
  const key = names.map((name) => +at(name).value);
  names.forEach((name, i) => { at(`${name}-value`).textContent = axes[name][key[i]]; at(name).setAttribute("aria-valuetext", axes[name][key[i]]); });
  const cell = cells[key.join(",")];
  for (const mode of ["clip", "none"]) {
    const [share, low, high] = cell[mode];
    at(`${mode}-bar`).style.width = `${100 * share}%`;
    at(`${mode}-text`).textContent = `${percent(share)} [${percent(low)}, ${percent(high)}]`;
  }
  const [clip, none] = [cell.clip, cell.none];
  at("said").textContent = clip[1] > none[2] ? "The clip makes the likelier arm gain more often." :
    clip[2] < none[1] ? "The clip makes the likelier arm gain less often." : "At this point the clip's effect is not told from chance.";
  at("exact").textContent = `Mean change of the likelier arm's probability: ${signed(cell.exact[0])} with the clip, ` +
    `${signed(cell.exact[1])} without. All outcomes are enumerated, so there is no sampling error.`;
}
draw();
