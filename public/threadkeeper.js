// Runs before the first paint and before Chainlit's own code. The chat works without it.
(() => {
  const root = document.documentElement;

  // Browsers choose the shapes of Chinese characters by this; Chainlit's page always says "en".
  root.lang = navigator.language || "en";

  // The pages about usage begin a day where their reader is.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone) document.cookie = `time_zone=${zone}; path=/; max-age=31536000; samesite=lax`;

  // Chainlit remembers the chosen theme under this name and knows "system", but its configuration cannot say so.
  const theme = localStorage.getItem("vite-ui-theme") || "system";
  localStorage.setItem("vite-ui-theme", theme);

  // What Chainlit does later, so that a dark page does not flash white.
  const dark = theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  const variant = dark ? "dark" : "light";
  root.classList.add(variant);
  for (const [name, value] of Object.entries(window.theme?.[variant] ?? {})) root.style.setProperty(name, value);
})();
