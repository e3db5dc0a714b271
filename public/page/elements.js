// The passages that an answer cites, each on a page of its own: the arrow there leads back to the thread. Chainlit's
// leads to a new chat, and its links add an entry to the history in which nothing changes.
import { root } from "./server.js";

export const watchElements = () => {
  const onClick = (event) => {
    if (event.target.closest?.("a.element-link")) event.preventDefault();
    const arrow = document.querySelector("#element-view button");
    const thread = new URLSearchParams(location.search).get("thread");
    if (!arrow?.contains(event.target) || !thread) return;
    event.stopPropagation();
    if (history.state?.idx > 0) history.back();
    else location.assign(new URL(`thread/${encodeURIComponent(thread)}`, root));
  };
  document.addEventListener("click", onClick, true);
};
