// The dialog with the keys, which `?` opens; and what tells that an answer is done in a tab behind: a mark in the title, and a
// notification if the reader has allowed it in that dialog.
import { make, texts } from "./server.js";
import { markTitle } from "./thread.js";

const WANTED = "threadkeeper-notifies";
const command = /Mac|iPhone|iPad/.test(navigator.platform) ? "⌘" : "Ctrl";
// The keys of Chainlit's page and of ours, with the keys of their texts.
const KEYS = [
  [["?"], "key_help"],
  [[command, "K"], "key_search"],
  [["Enter"], "key_send"],
  [["Shift", "Enter"], "key_line"],
  [["/"], "key_prompts"],
  [["Tab"], "key_part"],
  [["Shift", "F10"], "key_menu"],
  [["Esc"], "key_close"],
];

const warn = (error) => console.warn("Threadkeeper's page script:", error);
const canNotify = () => "Notification" in window && Notification.permission !== "denied";
const notifies = () => canNotify() && Notification.permission === "granted" && localStorage.getItem(WANTED) === "yes";

const notificationSwitch = (words) => {
  const box = make("input", "");
  box.type = "checkbox";
  box.checked = notifies();
  box.disabled = !canNotify();
  const note = make("p", "threadkeeper-note", canNotify() ? "" : (words.notify_denied ?? ""));
  note.setAttribute("role", "status");
  box.addEventListener("change", async () => {
    // The browser asks only after a click.
    if (box.checked && (await Notification.requestPermission()) !== "granted") {
      box.checked = false;
      note.textContent = words.notify_denied ?? "";
    }
    localStorage.setItem(WANTED, box.checked ? "yes" : "no");
  });
  return make("div", "", make("label", "", box, ` ${words.notify ?? ""}`), note);
};

const open = async () => {
  if (document.querySelector("#threadkeeper-help")) return;
  const { texts: words } = await texts();
  const heading = make("h2", "", words.keys ?? "");
  heading.id = "threadkeeper-help-title";
  const rows = KEYS.map(([keys, text]) => {
    const shown = keys.flatMap((key, at) => (at ? [" + ", make("kbd", "", key)] : [make("kbd", "", key)]));
    return make("div", "", make("dt", "", ...shown), make("dd", "", words[text] ?? ""));
  });
  const button = make("button", "", words.help_close ?? "");
  button.type = "button";
  const dialog = make("dialog", "", heading, make("dl", "", ...rows), notificationSwitch(words), button);
  dialog.id = "threadkeeper-help";
  dialog.setAttribute("aria-labelledby", heading.id);
  button.addEventListener("click", () => dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
};

/** Show the dialog; a button of the side bar does so too. */
export const openHelp = () => open().catch(warn);

const isTyping = (target) =>
  target instanceof Element && target.closest("input, textarea, select, [contenteditable]:not([contenteditable=false])");

const tell = async () => {
  markTitle(true);
  if (!notifies()) return;
  const { texts: words } = await texts();
  const shown = new Notification(words.answer_done ?? document.title, { body: document.title, tag: "threadkeeper" });
  shown.addEventListener("click", () => {
    window.focus();
    shown.close();
  });
};

/** Watch for the end of an answer: the button that stops it leaves the page. Timers are slow in a tab behind. */
const watchAnswers = () => {
  let isRunning = false;
  new MutationObserver(() => {
    const runs = Boolean(document.querySelector("#stop-button"));
    if (isRunning && !runs && document.hidden) tell().catch(warn);
    isRunning = runs;
  }).observe(document.body, { childList: true, subtree: true });
  document.addEventListener("visibilitychange", () => document.hidden || markTitle(false));
};

export const watchHelp = () => {
  addEventListener("keydown", (event) => {
    const isPlain = event.key === "?" && !event.ctrlKey && !event.altKey && !event.metaKey && !event.defaultPrevented;
    if (!isPlain || isTyping(event.target) || document.querySelector("[role=dialog], [role=menu]")) return;
    event.preventDefault();
    openHelp();
  });
  watchAnswers();
};
