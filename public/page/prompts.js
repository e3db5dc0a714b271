// The user's prompts in the composer: the text of a chosen one is put into the box, and its parts to fill in are selected one
// after another with the tabulator.
import { ask } from "./server.js";

const PART = /\{[^{}\n]{1,60}\}/;
let loading = null;
// Whether a prompt is being filled in. In other texts, the tabulator goes on as usual.
let isFilling = false;

/** The texts of the prompts, by name. Loaded once. */
const prompts = () => (loading ??= ask("GET", "page/prompts").catch((error) => {
  loading = null;
  throw error;
}));

const input = () => document.querySelector("#chat-input");

/** Replace the text of the box, as typing it would. */
const type = (box, text) => {
  Object.getOwnPropertyDescriptor(HTMLTextAreaElement.prototype, "value").set.call(box, text);
  box.dispatchEvent(new Event("input", { bubbles: true }));
};

/** Select the next part to fill in, from this place on; whether there is one. */
const selectPart = (box, from) => {
  const found = PART.exec(box.value.slice(from));
  if (!found) return false;
  box.setSelectionRange(from + found.index, from + found.index + found[0].length);
  return true;
};

const take = async (composer) => {
  const chosen = composer.querySelector('.command-buttons-container button[id^="command-"]:not([data-threadkeeper])');
  if (!chosen) return;
  // Asked once for each button.
  chosen.dataset.threadkeeper = "";
  const text = (await prompts())[chosen.id.slice("command-".length)];
  const box = input();
  if (text === undefined || !chosen.isConnected || !(box instanceof HTMLTextAreaElement)) return;
  // Without the command; the question has its text.
  chosen.click();
  setTimeout(() => {
    type(box, [text, box.value].filter(Boolean).join("\n\n"));
    box.focus();
    isFilling = selectPart(box, 0);
    if (!isFilling) box.setSelectionRange(box.value.length, box.value.length);
  });
};

export const watchPrompts = () => {
  let watched = null;
  const observer = new MutationObserver(() => {
    take(watched).catch((error) => console.warn("Threadkeeper's page script:", error));
  });
  setInterval(() => {
    const composer = document.querySelector("#message-composer");
    if (composer === watched) return;
    watched = composer;
    observer.disconnect();
    if (composer) observer.observe(composer, { childList: true, subtree: true });
  }, 500);
  addEventListener(
    "keydown",
    (event) => {
      const box = input();
      const isPlain = event.key === "Tab" && !event.shiftKey && !event.ctrlKey && !event.altKey && !event.metaKey;
      if (!isFilling || !isPlain || event.target !== box) return;
      isFilling = selectPart(box, box.selectionEnd);
      if (isFilling) event.preventDefault();
    },
    true,
  );
};
