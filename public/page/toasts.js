// The toasts that Chainlit's page has in English only.
import { rename } from "./dialogs.js";
import { texts } from "./server.js";

const TOAST = "[data-sonner-toast]";
// The second is that of a shared link; its end is the text of the HTTP status, which HTTP/2 does not send.
const MISSING = /^(?:Couldn't resume chat: Thread not found\.|Failed to load thread: (?:.*not found.*)?)$/i;

const translate = async (toast) => {
  const title = toast?.querySelector("[data-title]");
  if (MISSING.test(title?.textContent ?? "")) rename(title, (await texts()).texts.thread_missing);
};

export const watchToasts = () => {
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const node of addedNodes) {
        if (node instanceof HTMLElement) translate(node.matches(TOAST) ? node : node.querySelector(TOAST));
      }
    }
  }).observe(document.body, { childList: true, subtree: true });
};
