// Search in the side bar: titles and excerpts with the words marked.
import { onDialog } from "./dialogs.js";
import { ask, make } from "./server.js";

const ID = /[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const SHOWN = "threadkeeper-found";

const marked = (parts) => parts.map((part) => (part.is_marked ? make("mark", "", part.text) : part.text));

const complete = (dialog) => {
  const input = dialog.querySelector("[cmdk-input]");
  const list = dialog.querySelector("[cmdk-list]");
  if (!input || !list) return;
  const known = new Map();
  let waiting = 0;

  const show = async () => {
    const words = input.value.trim();
    const items = [...list.querySelectorAll("[cmdk-item]")].filter((item) => !item.querySelector(`.${SHOWN}`));
    const ids = items.map((item) => ID.exec(item.dataset.value ?? "")?.[0] ?? "");
    if (!words || !ids.some(Boolean)) return;
    if (known.get("words") !== words) {
      const query = new URLSearchParams({ words });
      for (const id of ids.filter(Boolean)) query.append("thread", id);
      const found = await ask("GET", `page/excerpts?${query}`);
      known.clear();
      known.set("words", words);
      for (const one of found) known.set(one.thread_id, one);
    }
    items.forEach((item, at) => {
      const one = known.get(ids[at]);
      // The result may belong to words that were typed meanwhile.
      if (!one || !item.isConnected || input.value.trim() !== words || item.querySelector(`.${SHOWN}`)) return;
      const lines = [make("div", "", ...marked(one.title))];
      if (one.text.length) lines.push(make("div", "threadkeeper-excerpt", ...marked(one.text)));
      item.append(make("div", SHOWN, ...lines));
    });
  };

  // Without an excerpt, Chainlit's title stays.
  new MutationObserver(() => {
    clearTimeout(waiting);
    waiting = setTimeout(() => show().catch(() => {}), 30);
  }).observe(list, { childList: true, subtree: true });
};

export const watchSearch = () => onDialog(complete);
