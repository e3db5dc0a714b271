// Draws the figures in the data attributes of the page, with the page's colours and font.
(() => {
  const root = document.documentElement;

  // Colours are names of the theme's CSS variables.
  const colour = (name, style) => {
    const parts = style.getPropertyValue(name).trim().split(/\s+/);
    return parts.length === 3 ? `hsl(${parts.join(", ")})` : "#888";
  };
  const coloured = (value, style) => {
    if (Array.isArray(value)) return value.map((one) => coloured(one, style));
    if (!value || typeof value !== "object") return value;
    const said = ([name, one]) =>
      name.endsWith("color") && one.startsWith("--") ? [name, colour(one, style)] : [name, coloured(one, style)];
    return Object.fromEntries(Object.entries(value).map(said));
  };

  const axis = {
    automargin: true,
    // Scrolling by touch must not zoom a chart.
    fixedrange: true,
    gridcolor: "--border",
    linecolor: "--border",
    zerolinecolor: "--border",
    rangemode: "tozero",
  };
  const spike = { spikecolor: "--muted-foreground", spikedash: "solid", spikethickness: 1 };
  const base = {
    paper_bgcolor: "transparent",
    plot_bgcolor: "transparent",
    height: 260,
    margin: { t: 8, r: 8, b: 8, l: 8 },
    bargap: 0.25,
    hovermode: "x unified",
    dragmode: false,
    showlegend: true,
    legend: { orientation: "h", traceorder: "normal", x: 0, y: 1.02, yanchor: "bottom" },
  };

  // As all dates of the pages; Plotly's month names are English only.
  const dates = {
    tickformatstops: [
      { dtickrange: [null, 82800000], value: "%H:%M\n%Y-%m-%d" },
      { dtickrange: [86400000, "M1"], value: "%m-%d\n%Y" },
      { dtickrange: ["M1", "M11"], value: "%Y-%m" },
      { dtickrange: ["M12", null], value: "%Y" },
    ],
  };

  const draw = (place) => {
    const style = getComputedStyle(root);
    const { data, layout } = JSON.parse(place.dataset.figure);
    // A legend with one entry per line needs its own height.
    const listed = place.clientWidth < 480 && data.length > 2 ? 18 * data.length : 0;
    const whole = {
      ...base,
      height: base.height + listed,
      ...layout,
      xaxis: { ...axis, ...spike, showgrid: false, ...dates, ...layout.xaxis },
      yaxis: { ...axis, ...layout.yaxis },
      font: { family: getComputedStyle(document.body).fontFamily, size: 12, color: "--muted-foreground" },
      hoverlabel: { bgcolor: "--popover", bordercolor: "--border", font: { color: "--popover-foreground" } },
    };
    Plotly.react(place, coloured(data, style), coloured(whole, style), { displayModeBar: false, responsive: true });
  };

  const drawAll = () => document.querySelectorAll("[data-figure]").forEach(draw);
  drawAll();
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
})();
