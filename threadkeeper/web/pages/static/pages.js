// Runs before the first paint. The pages work without it.
(() => {
  const root = document.documentElement;

  // The theme chosen in the chat; for "system" or none, the style sheet decides.
  const theme = localStorage.getItem("vite-ui-theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;

  // Days begin in the reader's time zone. A cookie sends it to the server; the first visit reloads the page once.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const told = () => document.cookie.split("; ").includes(`time_zone=${zone}`);
  if (zone && !told()) {
    document.cookie = `time_zone=${zone}; path=${root.dataset.root}/; max-age=31536000; samesite=lax`;
    if (told() && root.dataset.zone && root.dataset.zone !== zone) location.reload();
  }

  // A form that was refused: its page was posted to an address that only takes forms. A reload would post it again.
  if (root.dataset.page) history.replaceState(history.state, "", root.dataset.page);

  // A section that shows work in progress is loaded again until the work is done; then those with `data-made` too.
  const again = async () => {
    const shown = document.querySelector("section[data-again]");
    if (!shown) return;
    const answer = await fetch(location.href).catch(() => null);
    const page = answer?.ok && new DOMParser().parseFromString(await answer.text(), "text/html");
    const newer = page && page.getElementById(shown.id);
    if (newer && newer.innerHTML !== shown.innerHTML) {
      // What the reader opened and where the focus is stay.
      const parts = (section, of) => [...section.querySelectorAll(of)];
      const focused = parts(shown, "a, button, summary").indexOf(document.activeElement);
      parts(shown, "details").forEach((one, at) => parts(newer, "details")[at]?.toggleAttribute("open", one.open));
      shown.replaceWith(newer);
      parts(newer, "a, button, summary")[focused]?.focus();
      if (!newer.matches("[data-again]")) {
        // The work is done: so are the sections that show what it made, but not while the reader is in one.
        for (const old of document.querySelectorAll("section[data-made]")) {
          const made = page.getElementById(old.id);
          if (made && !old.contains(document.activeElement)) old.replaceWith(made);
        }
      }
    }
    setTimeout(again, 3000);
  };

  // A box that checks all boxes of a name in its form.
  const checkAll = () => {
    for (const box of document.querySelectorAll("input[data-checks]")) {
      const others = () => [...box.form.querySelectorAll(`input[name="${box.dataset.checks}"]`)];
      box.closest("[hidden]")?.removeAttribute("hidden");
      box.addEventListener("change", () => others().forEach((one) => (one.checked = box.checked)));
      box.form.addEventListener("change", () => (box.checked = others().every((one) => one.checked)));
    }
  };
  document.addEventListener("DOMContentLoaded", () => {
    checkAll();
    setTimeout(again, 1000);
  });
})();
