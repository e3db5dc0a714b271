// Runs before the first paint and before Chainlit's code. The chat works without it.
(() => {
  const root = document.documentElement;
  // The path under which everything is served (CHAINLIT_ROOT_PATH); "" for the root of the host.
  const base = document.querySelector('meta[property="og:root_path"]')?.content ?? "";

  // Browsers choose the glyphs of Chinese characters by this; Chainlit's page always has "en". Its texts name their own
  // language when they come.
  root.lang = navigator.language || "en";

  // On the usage pages, days begin in the reader's time zone.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  if (zone) document.cookie = `time_zone=${zone}; path=${base}/; max-age=31536000; samesite=lax`;

  // Chainlit stores the theme under this name and supports "system", but not as a default in its configuration.
  const theme = localStorage.getItem("vite-ui-theme") || "system";
  localStorage.setItem("vite-ui-theme", theme);

  // Chainlit does the same later. Done here, a dark page does not flash white.
  const dark = theme === "dark" || (theme === "system" && matchMedia("(prefers-color-scheme: dark)").matches);
  const variant = dark ? "dark" : "light";
  root.classList.add(variant);
  for (const [name, value] of Object.entries(window.theme?.[variant] ?? {})) root.style.setProperty(name, value);

  // After a login, Chainlit's page goes to "/". This goes once to the page that the visitor requested instead: one of our
  // pages or a thread, named in `next`, or a thread from which Chainlit's page redirected to the login. The address is kept
  // for this tab, because a login at another service leaves the page and returns. Only our own paths are allowed.
  const KEY = "threadkeeper-wanted";
  const KEPT_FOR = 10 * 60_000;
  const isOurs = (wanted) => {
    if (!wanted?.startsWith(`${base}/`)) return false;
    const address = wanted.slice(base.length);
    if (!/^\/(?:(?:usage|review|me|assistants|admin)(?:[/?]|$)|(?:share|thread)\/[0-9a-f-]{36}$)/.test(address)) return false;
    // Browsers resolve dots and backslashes, which would lead elsewhere. A download does not leave the login page.
    const path = address.split("?")[0];
    return new URL(address, location.origin).pathname === path && !/\/\/|\/usage\/export\./.test(path);
  };

  // Chainlit's page draws the chat as soon as it has its texts. If it does not know the user yet, it lacks its settings,
  // and warns about file types. So the texts wait for the user.
  //
  // Opened at a thread, it connects twice: at first without the thread, and, a moment later, with it. Each time it asks for
  // a cookie first, and keeps the connection whose cookie came last. If the answers came in the other order, the thread
  // never appeared. So an answer is kept back for good if another cookie was asked for meanwhile.
  const send = window.fetch.bind(window);
  let user = Promise.resolve();
  let cookies = 0;
  const ifNewest = (answer, number) =>
    new Promise((keep, fail) => {
      const only = (pass) => (value) => number === cookies && pass(value);
      answer.then(only(keep), only(fail));
    });
  window.fetch = (...given) => {
    const answer = send(...given);
    const path = new URL(given[0] instanceof Request ? given[0].url : given[0], location.href).pathname;
    const taken = () => new Promise((done) => setTimeout(done, 30));
    if (path.endsWith("/user")) user = answer.then((found) => found.clone().text()).then(taken, taken);
    if (path.endsWith("/set-session-cookie")) return ifNewest(answer, ++cookies);
    if (!path.endsWith("/project/translations")) return answer;
    answer.then((found) => (root.lang = found.headers.get("content-language") || root.lang), () => {});
    return user.then(() => answer);
  };

  // The rest completes Chainlit's page when it is used. Each part is a module, and none is needed before the first paint.
  import(new URL("page/main.js", document.currentScript.src));

  if (location.pathname === `${base}/login`) {
    const from = document.referrer ? new URL(document.referrer) : null;
    const isThread = from?.origin === location.origin && /^\/(?:share|thread)\//.test(from.pathname.slice(base.length));
    const left = isThread ? from.pathname : "";
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
      // "/login", and "/login/callback" after a login at another service.
      const isHome = url && [base, `${base}/`].includes(new URL(url, location.href).pathname);
      const isIn = isHome && [`${base}/login`, `${base}/login/`, `${base}/login/callback`].includes(location.pathname);
      const wanted = isIn && !leaves ? takeWanted() : null;
      leaves ||= Boolean(wanted);
      if (wanted) location.replace(wanted);
      else if (!leaves) go(state, title, url);
    };
  }
})();
