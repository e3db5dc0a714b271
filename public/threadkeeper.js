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

  // After a login Chainlit's page goes on to "/". Who wanted another page is brought there instead, once: a page of ours,
  // which names itself in the address, or a shared thread, from which Chainlit's page sends visitors here. It is kept for
  // this tab, since a login elsewhere leaves the page and comes back. No path but these of our own is ever gone to.
  const KEY = "threadkeeper-wanted";
  const KEPT_FOR = 10 * 60_000;
  const isOurs = (address) => {
    if (!/^\/(?:(?:usage|review|me)(?:[/?]|$)|share\/[0-9a-f-]{36}$)/.test(address)) return false;
    // A browser takes dots and backslashes out of a path, and would end up elsewhere; a download leaves no page.
    const path = address.split("?")[0];
    return new URL(address, location.origin).pathname === path && !/\/\/|\/usage\/export\./.test(path);
  };

  if (location.pathname === "/login") {
    const from = document.referrer ? new URL(document.referrer) : null;
    const left = from?.origin === location.origin && from.pathname.startsWith("/share/") ? from.pathname : "";
    const wanted = new URLSearchParams(location.search).get("next") ?? left;
    if (isOurs(wanted)) sessionStorage.setItem(KEY, JSON.stringify({ address: wanted, at: Date.now() }));
  }

  const takeWanted = () => {
    const kept = JSON.parse(sessionStorage.getItem(KEY) ?? "{}");
    sessionStorage.removeItem(KEY);
    return isOurs(kept.address) && Math.abs(Date.now() - kept.at) < KEPT_FOR ? kept.address : null;
  };
  let leaves = false;
  for (const name of ["pushState", "replaceState"]) {
    const go = history[name].bind(history);
    history[name] = (state, title, url) => {
      // "/login", and "/login/callback" after a login elsewhere.
      const isIn = /^\/login(?:\/|$)/.test(location.pathname) && url && new URL(url, location.href).pathname === "/";
      const wanted = isIn && !leaves ? takeWanted() : null;
      leaves ||= Boolean(wanted);
      if (wanted) location.replace(wanted);
      else if (!leaves) go(state, title, url);
    };
  }
})();
