// Draws the charts, and fills the tables behind them when they are opened. Data become text nodes
// and numbers, never markup.
(() => {
  "use strict";
  const { tables, charts, config } = JSON.parse(document.getElementById("report-data").textContent);

  const rowsOf = (name) => {
    const { columns, rows } = tables[name];
    return rows.map((row) => Object.fromEntries(columns.map((column, i) => [column.name, row[i]])));
  };

  const draw = ({ id, says, tables: names, spec }) =>
    vegaEmbed(
      document.getElementById(id),
      {
        ...spec,
        config,
        description: says,
        datasets: { ...spec.datasets, ...Object.fromEntries(names.map((name) => [name, rowsOf(name)])) },
      },
      // Expressions are interpreted, since the page forbids eval; there is nothing to be fetched.
      { ast: true, actions: false, renderer: "svg", tooltip: { theme: "light" } },
    ).then(() => document.getElementById(id).setAttribute("data-drawn", ""));

  const failed = (id, error) => {
    document.getElementById(id).textContent = `This chart could not be drawn: ${error.message}`;
    console.error(error);
  };

  // One after the other, so that the page answers meanwhile.
  const drawAll = async () => {
    for (const chart of charts) {
      await draw(chart).catch((error) => failed(chart.id, error));
      await new Promise((resume) => setTimeout(resume));
    }
    document.documentElement.setAttribute("data-ready", "");
  };

  const shown = (value, digits) => {
    if (value === null) return "–";
    if (value === true) return "yes";
    if (value === false) return "no";
    if (typeof value !== "number") return value;
    return value.toLocaleString("en", Number.isInteger(value) ? {} : { maximumSignificantDigits: digits });
  };

  const element = (name, text, attributes = {}) => {
    const made = document.createElement(name);
    if (text !== undefined) made.textContent = text;
    for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
    return made;
  };

  const fill = (place) => {
    const { columns, rows } = tables[place.dataset.table];
    const numeric = columns.map((_, i) => rows.some((row) => typeof row[i] === "number"));
    const kind = (i) => (numeric[i] ? { class: "number" } : {});
    const head = element("tr");
    columns.forEach((column, i) => head.append(element("th", column.title, { scope: "col", ...kind(i) })));
    const body = element("tbody");
    for (const row of rows) {
      const line = element("tr");
      row.forEach((value, i) =>
        line.append(element(i ? "td" : "th", shown(value, columns[i].digits), i ? kind(i) : { scope: "row", ...kind(i) })));
      body.append(line);
    }
    const table = element("table");
    const top = element("thead");
    top.append(head);
    table.append(element("caption", place.dataset.title), top, body);
    place.replaceChildren(table);
  };

  for (const details of document.querySelectorAll("details.data"))
    details.addEventListener("toggle", () => {
      if (!details.open || details.dataset.filled !== undefined) return;
      details.dataset.filled = "";
      details.querySelectorAll("[data-table]").forEach(fill);
    });

  drawAll();
})();
