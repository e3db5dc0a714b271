// The menu of a thread in the side bar, for the keyboard. Its button stands inside the thread's own button, where nothing
// else may take the focus. So the keys for a context menu open it, as they do in a list of files.
const GONE_MS = 50;
const ENTRY = "#thread-history li[id^=thread-]";

const isMenuKey = (event) => event.key === "ContextMenu" || (event.key === "F10" && event.shiftKey);

/** Give the focus back as soon as the menu has left the page. A dialog that it opened keeps the focus. */
const giveBack = (element) =>
  setTimeout(() => {
    if (document.querySelector("[role=menu]")) giveBack(element);
    else if (document.activeElement === document.body && element.isConnected) element.focus();
  }, GONE_MS);

const openMenu = (button, back) => {
  // Radix opens the menu on Enter, and gives the focus back to a button that cannot have it.
  button.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true, cancelable: true }));
  const watch = new MutationObserver(() => {
    if (button.isConnected && button.dataset.state === "open") return;
    watch.disconnect();
    giveBack(back);
  });
  watch.observe(button, { attributeFilter: ["data-state"] });
};

export const watchMenus = () => {
  addEventListener("keydown", (event) => {
    if (!isMenuKey(event) || !(event.target instanceof Element)) return;
    const button = event.target.closest(ENTRY)?.querySelector("#thread-options");
    if (!button) return;
    event.preventDefault();
    openMenu(button, event.target);
  });
};
