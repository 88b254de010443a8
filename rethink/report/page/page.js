// Draws figures when they come into view, shows a run's curves and config when it is opened, follows light and dark.
"use strict";
(() => {
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const drawn = new Set();
  let printing = false;

  const read = (element) => JSON.parse(element.textContent);

  // What of a layout follows the page's colours; the traces keep theirs, which tell the series apart.
  function colours(layout) {
    const light = printing || !dark.matches;
    const [ink, grid, card] = light ? ["#33373d", "#e6e4df", "#ffffff"] : ["#d5d8dc", "#31353c", "#1b1e23"];
    const changes = { "paper_bgcolor": "rgba(0,0,0,0)", "plot_bgcolor": "rgba(0,0,0,0)", "font.color": ink,
      "legend.bgcolor": "rgba(0,0,0,0)", "hoverlabel.bgcolor": card, "hoverlabel.font.color": ink,
      "hoverlabel.bordercolor": grid, "modebar.bgcolor": "rgba(0,0,0,0)", "modebar.color": light ? "#8a9099" : "#7b828c",
      "modebar.activecolor": ink };
    for (const name of Object.keys(layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      Object.assign(changes, { [`${name}.gridcolor`]: grid, [`${name}.linecolor`]: grid, [`${name}.zerolinecolor`]: grid });
    }
    return changes;
  }

  // plotly.js is long: it lies in the page as text, and runs when the first figure wants it.
  function library() {
    if (!window.Plotly) make("script", document.getElementById("plotly").textContent, document.head);
  }

  // Room for the names of the traces below the axis, however many lines they take at this width.
  function room(place, { data, layout }) {
    const names = data.filter((trace) => trace.showlegend !== false).map((trace) => trace.name.length);
    const columns = Math.max(1, Math.floor((place.clientWidth - 70) / (60 + 7.2 * Math.max(1, ...names))));
    const below = 58 + 21 * Math.ceil(names.length / columns);
    const panels = layout.height - layout.margin.t - layout.margin.b;
    return { "margin.b": below, "height": panels + layout.margin.t + below };
  }

  function draw(place, figure) {
    if (place.dataset.drawn) return;
    library();
    place.dataset.drawn = "true";
    drawn.add(place);
    const layout = figure.layout;
    layout.font = { ...layout.font, family: getComputedStyle(document.body).fontFamily };
    layout.dragmode = coarse.matches ? false : "zoom"; // a finger on a figure scrolls the page
    for (const [path, value] of Object.entries({ ...colours(layout), ...room(place, figure) })) {
      const names = path.split(".");
      const last = names.pop();
      let section = layout;
      for (const name of names) section = section[name] ??= {};
      section[last] = value;
    }
    for (const trace of figure.data) trace.hoverlabel = { namelength: 40 };
    Plotly.newPlot(place, figure.data, layout, { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["select2d", "lasso2d", "autoScale2d"] });
  }

  const drawById = (place) => draw(place, read(document.getElementById(`${place.id}-data`)));
  const figures = [...document.querySelectorAll(".plot:not(.of-run)")];
  const watch = new IntersectionObserver((crossings) => {
    for (const { isIntersecting, target } of crossings) {
      if (isIntersecting) { watch.unobserve(target); drawById(target); }
    }
  }, { rootMargin: "300px" });
  figures.forEach((place) => watch.observe(place));

  addEventListener("resize", () => drawn.forEach((place) => Plotly.relayout(place, room(place, place))));
  const repaint = () => drawn.forEach((place) => Plotly.relayout(place, colours(place.layout)));
  dark.addEventListener("change", repaint);
  addEventListener("beforeprint", () => { printing = true; figures.forEach(drawById); repaint(); });
  addEventListener("afterprint", () => { printing = false; repaint(); });

  // A run's curves: the figure of all runs, its traces filled with this run's columns.
  function curves(place, own) {
    const figure = read(document.getElementById("run-figure"));
    figure.data = figure.data.filter(({ meta: [kind, field] }) => own.curves[kind]?.[field]);
    for (const trace of figure.data) {
      const [kind, field] = trace.meta;
      trace.x = own.curves[kind].step;
      trace.y = own.curves[kind][field];
      if (trace.x.length < 13) trace.mode = "lines+markers";
    }
    if (own.log) Object.assign(figure.layout.yaxis, { type: "log", rangemode: "normal" });
    if (own.chance) {
      figure.layout.shapes = [{ type: "line", xref: "paper", x0: 0, x1: 1, yref: "y2", y0: own.chance, y1: own.chance,
        line: { color: "#8a9099", width: 1, dash: "dash" } }];
      figure.layout.annotations = [{ text: "chance", xref: "paper", x: 1, xanchor: "right", yref: "y2", y: own.chance,
        yanchor: "bottom", showarrow: false, font: { size: 11, color: "#8a9099" } }];
    }
    draw(place, figure);
  }

  function make(name, text, parent, attributes = {}) {
    const made = document.createElement(name);
    if (text !== null) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    parent.append(made);
    return made;
  }

  // A run's whole config: that of most runs, but for its own fields; null stands for one that it lacks.
  function table(own, box) {
    const config = { ...read(document.getElementById("common-config")), ...own.config };
    const made = make("table", null, box);
    make("caption", "All fields that its manifest holds", made);
    const head = make("tr", null, make("thead", null, made));
    for (const column of ["field", "value"]) make("th", column, head, { scope: "col" });
    const body = make("tbody", null, made);
    for (const field of Object.keys(config).sort().filter((name) => config[name] !== null)) {
      const row = make("tr", null, body);
      make("code", field, make("th", null, row, { scope: "row" }));
      make("code", config[field], make("td", null, row));
    }
  }

  function open(run) {
    const source = run.querySelector(".run-data");
    if (!run.open || run.dataset.filled || !source) return;
    run.dataset.filled = "true";
    const own = read(source);
    const place = run.querySelector(".plot.of-run");
    if (place) curves(place, own);
    table(own, run.querySelector(".config"));
  }
  const runs = [...document.querySelectorAll("details.run")];
  runs.forEach((run) => run.addEventListener("toggle", () => open(run)));

  // A link to a run opens it.
  function follow() {
    const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!target?.matches("details.run")) return;
    target.hidden = false;
    target.open = true;
    open(target);
    target.scrollIntoView();
    target.querySelector("summary").focus({ preventScroll: true });
  }
  addEventListener("hashchange", follow);
  document.addEventListener("click", (event) => {
    const link = event.target.closest?.("a[href^='#run-']");
    if (link && link.hash === location.hash) follow(); // the same link once more changes no hash
  });
  follow();

  const filter = document.getElementById("filter");
  const names = runs.map((run) => run.querySelector("summary").textContent.toLowerCase());
  filter.addEventListener("input", () => {
    const words = filter.value.toLowerCase().split(/\s+/).filter(Boolean);
    runs.forEach((run, number) => { run.hidden = !words.every((word) => names[number].includes(word)); });
    document.querySelectorAll(".run-group").forEach((group) => { group.hidden = !group.querySelector("details.run:not([hidden])"); });
    document.getElementById("filter-count").textContent = `${runs.filter((run) => !run.hidden).length} runs`;
  });
})();
