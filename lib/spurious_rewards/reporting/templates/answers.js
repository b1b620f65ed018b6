// The browser of answers. All text is set with textContent: what a model wrote is never read as HTML.
const { texts, problems, models, rows } = window.ANSWERS;
const at = (id) => document.getElementById(id);
const MOST = 60;
const fill = (select, names) => {
  select.append(new Option("any", ""));
  names.forEach((name, i) => select.append(new Option(name, String(i))));
};
fill(at("problem"), problems.map((problem) => problem.name));
fill(at("model"), models);
const lower = texts.map((text) => text.toLowerCase());
const card = ([problem, model, text, right, code, tokens, extracted]) => {
  const box = document.createElement("article"), head = document.createElement("h2");
  const facts = document.createElement("p"), written = document.createElement("pre");
  box.className = "card";
  head.textContent = models[model];
  facts.className = "source";
  facts.textContent = `${right ? "right" : "wrong"}, ${code ? "code" : "language"}, ${tokens} tokens; ` +
    `answered ${extracted ?? "nothing"}, reference ${problems[problem].gold}`;
  const asked = document.createElement("p");
  asked.textContent = problems[problem].text || problems[problem].name;
  written.textContent = texts[text];
  written.tabIndex = 0;
  box.append(head, facts, asked, written);
  return box;
};
const draw = () => {
  const began = performance.now();
  const wanted = at("search").value.toLowerCase();
  const [problem, model, strategy, verdict] = ["problem", "model", "strategy", "verdict"].map((id) => at(id).value);
  const found = rows.filter((row) => (problem === "" || row[0] === +problem) && (model === "" || row[1] === +model) &&
    (verdict === "" || row[3] === +verdict) && (strategy === "" || row[4] === +strategy) &&
    (wanted === "" || lower[row[2]].includes(wanted)));
  at("cards").replaceChildren(...found.slice(0, MOST).map(card));
  at("count").textContent = `${found.length} of ${rows.length} answers` + (found.length > MOST ? `; the first ${MOST} are shown` : "");
  window.lastFilterMilliseconds = performance.now() - began;
};
at("filters").addEventListener("input", draw);
draw();
