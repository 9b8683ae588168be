// The explorer page: what a reader chose, kept in the address as #study=...&task=..., and what is shown for it.
"use strict";
(() => {
  const { element, number, dots, centre, nearest, curves } = fewftDraw;
  const part = (name) => document.getElementById(`fewft-explorer-${name}`);
  const data = JSON.parse(part("data").textContent);
  const CURVES = { val: "Validation score over training", loss: "Training loss" };
  const NO_CURVES = data.points === 0;
  const METRIC = Object.fromEntries(data.metrics.map((key, place) => [key, place]));
  const state = { study: "", model: "", task: "", by: "", metric: "", curve: "", run: "" };
  let rows = []; // of the arms shown
  let writing = 0; // the timer of a change of the address

  // --- the choice -------------------------------------------------------------------------------------------------
  const known = (list, value) => (list.includes(value) ? value : list[0]);
  const unique = (list) => [...new Set(list)];
  const groupOf = () => data.groups.find((g) => g.study === state.study && g.model === state.model && g.task === state.task);

  // Makes the state one that there are runs for: what is not known becomes the first that is.
  function settle() {
    const of = (list, key) => unique(list.map((group) => group[key]));
    state.study = known(of(data.groups, "study"), state.study);
    const studies = data.groups.filter((group) => group.study === state.study);
    state.model = known(of(studies, "model"), state.model);
    state.task = known(of(studies.filter((group) => group.model === state.model), "task"), state.task);
    state.by = known(Object.keys(groupOf().views), state.by);
    state.metric = known(data.metrics, state.metric);
    state.curve = known(Object.keys(CURVES), state.curve);
  }

  function readAddress() {
    const given = new URLSearchParams(location.hash.slice(1));
    if (!given.has("study")) return false; // an anchor of the page
    for (const key of Object.keys(state)) state[key] = given.get(key) ?? "";
    return true;
  }

  function address() {
    return `#${new URLSearchParams(Object.entries(state).filter(([, value]) => value !== ""))}`;
  }

  // After a choice, and not when the page is opened: its address may be that of a heading.
  function writeAddress() {
    clearTimeout(writing); // browsers refuse many changes in a short time
    writing = setTimeout(() => history.replaceState(null, "", address()), 150);
  }

  function fill(name, options, chosen) {
    part(name).replaceChildren(...options.map(([value, text]) => element("option", { value }, text)));
    part(name).value = chosen;
  }

  function fillAll() {
    const pairs = unique(data.groups.map((group) => JSON.stringify([group.study, group.model])));
    fill("study", pairs.map((pair) => [pair, JSON.parse(pair).join(": ")]), JSON.stringify([state.study, state.model]));
    const tasks = data.groups.filter((group) => group.study === state.study && group.model === state.model);
    fill("task", tasks.map((group) => [group.task, group.label]), state.task);
    fill("by", Object.keys(groupOf().views).map((key) => [key, data.views[key]]), state.by);
    fill("metric", data.metrics.map((key, place) => [key, groupOf().names[place]]), state.metric);
    fill("curve", Object.entries(CURVES), state.curve);
  }

  // --- what is shown ----------------------------------------------------------------------------------------------
  function rowsOf(group) {
    const place = METRIC[state.metric];
    return group.views[state.by].map(([index, label]) => {
      const arm = group.arms[index];
      const [n, mean, sd, difference, p] = arm.stats[place];
      const all = arm.runs.map((run) => runOf(run, label, group.names[place], place));
      const runs = all.filter((run) => run.score !== null);
      return { label, color: data.colors[arm.color], plain: arm.plain, n, mean, sd, difference, p, base: arm.base[place], bases: arm.base, all, runs };
    });
  }

  function runOf(run, label, metric, place) {
    const [id, init, seed, flags, scores, best, steps, val, length, losses] = run;
    const degenerate = (flags & 1) > 0, diverged = (flags & 2) > 0, score = scores[place];
    const said = `${label}, ${metric} ${number(score)}${degenerate ? ", degenerate" : ""}`;
    return { id, init, seed, degenerate, diverged, scores, best, steps, val, length, losses, score, said };
  }

  function render() {
    settle();
    const group = groupOf();
    rows = rowsOf(group);
    if (!rows.some((row) => row.all.some((run) => run.id === state.run))) state.run = "";
    fillAll();
    say(group);
    table(group);
    draw();
    choose(state.run);
  }

  function say(group) {
    const runs = rows.reduce((sum, row) => sum + row.all.length, 0);
    const few = rows.filter((row) => row.n < data.enough).length;
    const short = few ? ` ${few} arm${few > 1 ? "s have" : " has"} fewer than ${data.enough} runs, too few to compare.` : "";
    const arms = `${rows.length} arm${rows.length > 1 ? "s" : ""}, ${runs} run${runs > 1 ? "s" : ""}.`;
    part("said").textContent = `${group.label}: ${group.names[METRIC[state.metric]]}. ${arms}${short}`;
  }

  function against(row) {
    if (row.plain) return "the standard";
    if (row.difference === null) return "too few runs";
    const p = row.p === null ? "no test" : row.p === 0 ? "p < 0.001" : `p = ${number(row.p)}`;
    return `${row.difference > 0 ? "+" : ""}${number(row.difference)}, ${p}`;
  }

  function table(group) {
    const names = ["Arm", "n", "Mean", "sd", "Degen\u00aderate", "Against Standard"];
    const head = element("tr", {}, ...names.map((name) => element("th", { scope: "col" }, name)));
    const body = rows.map((row) => {
      const lost = row.all.length - row.n;
      const n = `${row.n}${lost ? ` (${lost} without a score)` : ""}`;
      const hits = row.all.filter((run) => run.degenerate).length;
      const cells = [n, number(row.mean), number(row.sd), `${hits} of ${row.all.length}`, against(row)];
      return element("tr", {}, element("th", { scope: "row" }, row.label), ...cells.map((cell) => element("td", {}, cell)));
    });
    const bases = unique(rows.map((row) => row.base).filter((base) => base !== null)).map(number);
    const base = bases.length ? ` Majority baseline: ${bases.join(", ")}.` : "";
    const caption = element("caption", {}, `${group.label}, ${group.names[METRIC[state.metric]]}: the numbers of the dots.${base}`);
    part("table").replaceChildren(caption, element("thead", {}, head), element("tbody", {}, ...body));
  }

  function curvesOf(row) {
    const drawn = row.all.map((run) => {
      const ends = run.losses.map((_, i) => Math.round(((i + 1) * run.length) / run.losses.length));
      const [at, values] = state.curve === "loss" ? [ends, run.losses] : [data.steps[run.steps], run.val];
      return { id: run.id, points: at.map((step, i) => [step, values[i] ?? null]) };
    });
    const base = state.curve === "loss" ? null : row.bases[METRIC.best_val];
    return { label: row.label, color: row.color, base, curves: drawn };
  }

  function draw() {
    const group = groupOf(), width = Math.floor(part("app").clientWidth);
    const metric = group.names[METRIC[state.metric]];
    part("dots").replaceChildren();
    part("curves").replaceChildren();
    const about = { "aria-label": `Runs of ${group.label} by arm: ${metric}`, "aria-describedby": part("help").id };
    if (!rows.some((row) => row.runs.length)) part("dots").append("No run here has this score.");
    else dots(part("dots"), rows, metric, width, about);
    if (NO_CURVES) return part("curves").append("There are too many runs for a page to hold their curves.");
    const title = state.curve === "loss" ? "Training loss, means of consecutive steps, by arm" : "Validation score over training steps, by arm";
    const said = `${title}, a line for each run of ${group.label}; its runs' scores are in the table above.`;
    curves(part("curves"), rows.map(curvesOf), title, width, said);
  }

  // --- one run ----------------------------------------------------------------------------------------------------
  function choose(id) {
    state.run = id;
    const all = [...part("dots").querySelectorAll(".dot")];
    const first = all.find((dot) => dot.dataset.run === id) ?? all[0];
    for (const dot of all) dot.setAttribute("tabindex", dot === first ? "0" : "-1");
    show(id);
    part("link").setAttribute("href", address());
  }

  // Marks a run and tells about it; with a pointer only over it, the choice stays as it is.
  function show(id) {
    for (const dot of part("dots").querySelectorAll(".dot")) dot.setAttribute("aria-selected", String(dot.dataset.run === id));
    part("curves").classList.toggle("one", id !== "");
    for (const curve of part("curves").querySelectorAll(".curve")) {
      curve.classList.toggle("chosen", curve.dataset.run === id);
      if (curve.dataset.run === id) curve.parentNode.append(curve); // above the others
    }
    part("run").textContent = id ? describe(id) : "No run is chosen.";
  }

  function describe(id) {
    const group = groupOf(), row = rows.find((one) => one.all.some((run) => run.id === id));
    const run = row.all.find((one) => one.id === id);
    const scores = run.scores.map((score, i) => `${group.names[i]} ${number(score)}`).join("; ");
    const state_ = [run.degenerate && "degenerate, not above the majority baseline on test", run.diverged && "diverged"];
    const rest = state_.filter(Boolean).map((word) => ` It is ${word}.`).join("");
    return `Run ${run.id} (${row.label}; init seed ${run.init}, data seed ${run.seed}): ${scores}. Best checkpoint after ${run.best} steps.${rest}`;
  }

  const KEYS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] };

  function move(event) {
    const dot = event.target.closest(".dot");
    if (event.key === "Escape") {
      choose("");
      return writeAddress();
    }
    if (!dot || !(event.key in KEYS) || event.altKey || event.ctrlKey || event.metaKey) return;
    event.preventDefault();
    const [down, along] = KEYS[event.key];
    const arms = [...part("dots").querySelectorAll(".arm")].map((arm) => [...arm.querySelectorAll(".dot")]).filter((arm) => arm.length);
    const from = arms.findIndex((arm) => arm.includes(dot));
    const arm = arms[Math.min(Math.max(from + down, 0), arms.length - 1)];
    const away = (one) => Math.abs(centre(one)[0] - centre(dot)[0]);
    const beside = arm.reduce((a, b) => (away(b) < away(a) ? b : a));
    const place = down ? arm.indexOf(beside) : arm.indexOf(dot) + along;
    arm[Math.min(Math.max(place, 0), arm.length - 1)].focus();
  }

  // --- start ------------------------------------------------------------------------------------------------------
  part("dots").addEventListener("focusin", (event) => {
    choose(event.target.closest(".dot").dataset.run);
    writeAddress();
  });
  part("dots").addEventListener("click", (event) => nearest(event)?.focus());
  part("dots").addEventListener("pointermove", (event) => show(nearest(event)?.dataset.run ?? state.run));
  part("dots").addEventListener("pointerleave", () => show(state.run));
  part("dots").addEventListener("keydown", move);
  part("study").addEventListener("change", () => {
    [state.study, state.model] = JSON.parse(part("study").value);
    render();
    writeAddress();
  });
  for (const name of ["task", "by", "metric", "curve"])
    part(name).addEventListener("change", () => {
      state[name] = part(name).value;
      render();
      writeAddress();
    });
  window.addEventListener("hashchange", () => readAddress() && render());
  let width = 0;
  function refit() {
    if (part("app").clientWidth === width) return;
    width = part("app").clientWidth;
    const held = part("dots").contains(document.activeElement);
    draw();
    choose(state.run);
    if (held) part("dots").querySelector('[tabindex="0"]')?.focus();
  }
  new ResizeObserver(() => requestAnimationFrame(refit)).observe(part("app"));
  readAddress();
  part("app").hidden = false;
  width = part("app").clientWidth;
  render();
})();
