// Runs before the first paint. The pages work without it.
(() => {
  const root = document.documentElement;

  // What was chosen in the chat; "system" or nothing leaves it to the style sheet.
  const theme = localStorage.getItem("vite-ui-theme");
  if (theme === "light" || theme === "dark") root.dataset.theme = theme;

  // Days begin where the reader is. The server learns of the zone by a cookie, and once writes the page anew.
  const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
  const told = () => document.cookie.split("; ").includes(`time_zone=${zone}`);
  if (zone && !told()) {
    document.cookie = `time_zone=${zone}; path=/; max-age=31536000; samesite=lax`;
    if (told() && root.dataset.zone && root.dataset.zone !== zone) location.reload();
  }
})();
