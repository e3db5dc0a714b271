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
})();
