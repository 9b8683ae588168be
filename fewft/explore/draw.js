// Drawing for the explorer page: SVG elements, a scale, the dots of each arm, the curves of its runs. Every text reaches
// the page as a text node or an attribute, never as markup.
"use strict";
const fewftDraw = (() => {
  const SVG = "http://www.w3.org/2000/svg";
  const ROW = 46, STEP = 9, RADIUS = 4.5; // pixels

  function element(tag, attributes = {}, ...inside) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    made.append(...inside);
    return made;
  }

  function shape(parent, tag, attributes = {}, text = "") {
    const made = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    if (text !== "") made.textContent = text;
    parent.append(made);
    return made;
  }

  const number = (thousandths) =>
    thousandths === null || thousandths === undefined ? "–" : (thousandths / 1000).toFixed(3).replace("-", "−");

  // A text of at most `room` pixels; of a longer one the beginning, with the whole as its title.
  function label(parent, attributes, text, room) {
    const made = shape(parent, "text", attributes, text);
    for (let most = text.length - 1; most > 3 && made.getComputedTextLength() > room; most--)
      made.textContent = `${text.slice(0, most)}…`;
    if (made.textContent !== text) shape(made, "title", {}, text);
    return made;
  }

  // The room that the longest label needs, up to `most` pixels.
  function widest(svg, rows, most) {
    const tried = shape(svg, "text", { class: "arm-name" });
    const lengths = rows.map((row) => {
      tried.textContent = row.label.slice(0, 100);
      return tried.getComputedTextLength();
    });
    tried.remove();
    return Math.min(most, Math.max(80, ...lengths) + 20);
  }

  // Round numbers over a range of values, about `count` of them, and the range with some room.
  function ticks(values, count) {
    let low = Math.min(...values), high = Math.max(...values);
    const room = (high - low || Math.abs(high) || 100) * 0.06;
    low -= room;
    high += room;
    const rough = (high - low) / count, power = 10 ** Math.floor(Math.log10(rough));
    const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
    const found = [];
    for (let at = Math.ceil(low / step) * step; at <= high; at += step) found.push(Math.round(at * 1e6) / 1e6);
    const digits = Math.max(0, 3 - Math.floor(Math.log10(step) + 1e-9));
    const texts = found.map((at) => (at / 1000).toFixed(digits).replace("-", "−"));
    return { low, high, found, texts };
  }

  // Lanes above and below the middle, so that no dot hides another one; [[run, x, lane], ...] by score.
  function lanes(runs, x) {
    const placed = [];
    for (const [run, at] of runs.map((run) => [run, x(run.score)]).sort((a, b) => a[1] - b[1])) {
      const near = placed.filter((other) => Math.abs(other[1] - at) < 2 * RADIUS + 1).map((other) => other[2]);
      let lane = 0;
      while (near.includes(lane)) lane = lane > 0 ? -lane : 1 - lane;
      placed.push([run, at, lane]);
    }
    return placed;
  }

  // Rows of {label, color, runs: [{id, score, degenerate, said}], mean, sd, base}; title of the axis; width in pixels.
  function dots(holder, rows, title, width, about) {
    const svg = shape(holder, "svg", { width, role: "listbox", ...about });
    const narrow = width < 560, left = narrow ? 12 : widest(svg, rows, 0.4 * width), right = 16;
    const scores = rows.flatMap((row) => row.runs.map((run) => run.score));
    const ends = rows.flatMap((row) => (row.sd === null ? [row.base] : [row.mean - row.sd, row.mean + row.sd, row.base]));
    const axis = ticks([...scores, ...ends.filter((end) => end !== null)], narrow ? 4 : 7);
    const x = (value) => left + ((value - axis.low) / (axis.high - axis.low)) * (width - left - right);
    const placed = rows.map((row) => lanes(row.runs, x));
    const spread = placed.map((row) => Math.max(0, ...row.map((dot) => Math.abs(dot[2]))));
    const heights = spread.map((lane) => ROW + (narrow ? 16 : 0) + 2 * STEP * Math.max(0, lane - 0.5));
    const bottom = heights.reduce((a, b) => a + b, 6);
    svg.setAttribute("height", bottom + 44);
    svg.setAttribute("viewBox", `0 0 ${width} ${bottom + 44}`);
    const back = shape(svg, "g", { "aria-hidden": "true" });
    axis.found.forEach((at, i) => {
      shape(back, "line", { class: "grid", x1: x(at), x2: x(at), y1: 4, y2: bottom });
      shape(back, "text", { class: "tick", x: x(at), y: bottom + 17, "text-anchor": "middle" }, axis.texts[i]);
    });
    shape(back, "text", { class: "title", x: left + (width - left - right) / 2, y: bottom + 37, "text-anchor": "middle" }, title);
    let top = 6;
    rows.forEach((row, i) => {
      dotRow(svg, back, row, placed[i], { x, top, height: heights[i], narrow, left, width });
      top += heights[i];
    });
    return svg;
  }

  function dotRow(svg, back, row, placed, at) {
    const middle = at.top + (at.height + (at.narrow ? 16 : 0)) / 2 - 5, low = at.top + at.height - 9;
    if (at.top > 6) shape(back, "line", { class: "rule", x1: 0, x2: at.width, y1: at.top, y2: at.top });
    const n = `n = ${row.runs.length}`;
    if (at.narrow) {
      const shown = label(back, { class: "arm-name", x: 2, y: at.top + 16 }, row.label, at.width - 70);
      shape(shown, "tspan", { class: "count", dx: 7 }, n);
    } else {
      label(back, { class: "arm-name", x: 2, y: middle + 4 }, row.label, at.left - 16);
      shape(back, "text", { class: "count", x: 2, y: middle + 20 }, n);
    }
    if (row.base !== null) {
      const from = at.top + (at.narrow ? 20 : 2);
      shape(back, "line", { class: "base", x1: at.x(row.base), x2: at.x(row.base), y1: from, y2: at.top + at.height - 1 });
    }
    const arm = shape(svg, "g", { class: "arm", role: "group", "aria-label": row.label });
    arm.style.setProperty("--c", row.color);
    if (row.runs.length > 1) {
      const bar = shape(arm, "g", { class: "mean", "aria-hidden": "true" });
      if (row.sd !== null) {
        const ends = { x1: at.x(row.mean - row.sd), x2: at.x(row.mean + row.sd) };
        shape(bar, "line", { ...ends, y1: low, y2: low });
      }
      shape(bar, "line", { class: "middle", x1: at.x(row.mean), x2: at.x(row.mean), y1: low - 5, y2: low + 5 });
    }
    for (const [run, x, lane] of placed) {
      const y = middle + lane * STEP;
      const attributes = { class: "dot", role: "option", tabindex: -1, "aria-selected": "false", "aria-label": run.said };
      const dot = shape(arm, "g", { ...attributes, "data-run": run.id, transform: `translate(${x},${y})` });
      shape(dot, "circle", { class: "ring", r: RADIUS + 4 });
      shape(dot, "circle", { class: run.degenerate ? "degenerate" : "run", r: RADIUS });
    }
  }

  // Where a dot is in its drawing.
  function centre(dot) {
    const { e, f } = dot.transform.baseVal.consolidate().matrix;
    return [e, f];
  }

  // The dot nearest to a pointer, if one is within reach.
  function nearest(event) {
    const box = event.currentTarget.getBoundingClientRect();
    const away = (dot) => Math.hypot(centre(dot)[0] - event.clientX + box.left, centre(dot)[1] - event.clientY + box.top);
    const all = [...event.currentTarget.querySelectorAll(".dot")].map((dot) => [away(dot), dot]);
    const [distance, dot] = all.reduce((a, b) => (b[0] < a[0] ? b : a), [Infinity, null]);
    return distance < 16 ? dot : null;
  }

  // Rows of {label, color, curves: [{id, points: [[x, y], ...]}], base}; one panel an arm, all with the same scores; each to
  // its own last step.
  function curves(holder, rows, title, width, said) {
    const most = width < 560 ? 2 : Math.floor(width / 225);
    const columns = Math.min(rows.length, most), gap = 14, left = 42;
    const panel = { width: (Math.min(width, columns * 330) - left - gap * (columns - 1) - 4) / columns, height: 96 };
    const points = rows.flatMap((row) => row.curves.flatMap((curve) => curve.points)).filter((point) => point[1] !== null);
    if (!points.length) return null;
    const bases = rows.map((row) => row.base).filter((base) => base !== null);
    const axis = ticks([...points.map((point) => point[1]), ...bases], 3);
    const height = Math.ceil(rows.length / columns) * (panel.height + 46);
    const size = { width, height: height + 20, viewBox: `0 0 ${width} ${height + 20}` };
    const svg = shape(holder, "svg", { ...size, role: "img", "aria-label": said });
    shape(svg, "text", { class: "title", x: 2, y: 12 }, title);
    rows.forEach((row, i) => {
      const place = { left: left + (i % columns) * (panel.width + gap), top: 44 + Math.floor(i / columns) * (panel.height + 46) };
      curvePanel(svg, row, axis, { ...panel, ...place, first: i % columns === 0 });
    });
    return svg;
  }

  function curvePanel(svg, row, axis, at) {
    const last = Math.max(1, ...row.curves.flatMap((curve) => curve.points.map((point) => point[0])));
    const x = (value) => at.left + (value / last) * at.width;
    const y = (value) => at.top + at.height - ((value - axis.low) / (axis.high - axis.low)) * at.height;
    const arm = shape(svg, "g", { class: "arm" });
    arm.style.setProperty("--c", row.color);
    label(arm, { class: "arm-name", x: at.left, y: at.top - 7 }, row.label, at.width);
    axis.found.forEach((value, i) => {
      shape(arm, "line", { class: "grid", x1: at.left, x2: at.left + at.width, y1: y(value), y2: y(value) });
      if (at.first) shape(arm, "text", { class: "tick", x: at.left - 6, y: y(value) + 4, "text-anchor": "end" }, axis.texts[i]);
    });
    shape(arm, "text", { class: "tick", x: at.left, y: at.top + at.height + 15 }, "0");
    const end = { class: "tick", x: at.left + at.width, y: at.top + at.height + 15, "text-anchor": "end" };
    shape(arm, "text", end, `${last} steps`);
    if (row.base !== null) shape(arm, "line", { class: "base", x1: at.left, x2: at.left + at.width, y1: y(row.base), y2: y(row.base) });
    for (const curve of row.curves) {
      const d = pathOf(curve.points, x, y);
      if (d) shape(arm, "path", { class: "curve", d, "data-run": curve.id });
    }
  }

  // A line through the points; it breaks where one has no value.
  function pathOf(points, x, y) {
    let d = "", pen = "M";
    for (const [step, value] of points) {
      if (value !== null) d += `${pen}${x(step).toFixed(1)},${y(value).toFixed(1)}`;
      pen = value === null ? "M" : "L";
    }
    return d;
  }

  return { element, number, dots, centre, nearest, curves };
})();
