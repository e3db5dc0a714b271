// The dialog in which a thread is shared: it says what its buttons do, and who can read the thread then. Chainlit's page
// says "Copy" for both acts, and has its second button in English only.
import { onDialog, rename } from "./dialogs.js";
import { make, texts } from "./server.js";

const complete = async (dialog) => {
  const link = dialog.querySelector('[title*="/share/"]');
  if (!link) return;
  const { texts: words } = await texts();
  const note = make("p", "threadkeeper-note", words.share_readers ?? "");
  link.parentElement.after(note);
  const name = () => {
    const [copy, stop] = [...dialog.querySelectorAll("button")].filter((one) => !one.querySelector(".sr-only"));
    // Only a shared thread has the second button.
    rename(copy, stop ? words.share_copy : words.share_create);
    rename(stop, words.share_stop);
  };
  new MutationObserver(name).observe(dialog, { childList: true, subtree: true });
  name();
};

export const watchSharing = () => onDialog(complete);
