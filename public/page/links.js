// The link to a shared thread, as it is shown and as it is copied: Chainlit's page forgets the path under which it is
// served (CHAINLIT_ROOT_PATH).
import { root } from "./server.js";

const wrong = `${location.origin}/share/`;
const right = new URL("share/", root).href;

const correct = () => {
  for (const shown of document.querySelectorAll(`[role="dialog"] [title^="${wrong}"]`)) {
    shown.title = shown.title.replace(wrong, right);
    shown.firstChild.nodeValue = shown.title;
  }
};

export const watchLinks = () => {
  if (root.pathname === "/") return;
  const { clipboard } = navigator;
  if (clipboard) {
    const write = clipboard.writeText.bind(clipboard);
    clipboard.writeText = (text) => write(text.startsWith(wrong) ? text.replace(wrong, right) : text);
  }
  // Dialogs are children of the body.
  new MutationObserver(correct).observe(document.body, { attributeFilter: ["title"], childList: true, subtree: true });
};
