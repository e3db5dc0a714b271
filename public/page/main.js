// Completes Chainlit's page. If a part fails, the others and the page go on without it.
import { watchCopying } from "./copying.js";
import { watchDialogs } from "./dialogs.js";
import { watchEdits } from "./edits.js";
import { watchElements } from "./elements.js";
import { watchFolders } from "./folders.js";
import { watchHelp } from "./help.js";
import { watchKeyboard } from "./keyboard.js";
import { watchLinks } from "./links.js";
import { watchMenus } from "./menus.js";
import { watchNames } from "./names.js";
import { watchPrompts } from "./prompts.js";
import { watchSearch } from "./search.js";
import { watchSharing } from "./sharing.js";
import { watchThread } from "./thread.js";
import { watchToasts } from "./toasts.js";
import { watchVotes } from "./votes.js";

const start = () => {
  const onEveryPage = [watchKeyboard, watchCopying, watchLinks, watchDialogs, watchToasts, watchNames];
  const inTheChat = [watchVotes, watchEdits, watchSearch, watchThread, watchSharing, watchElements, watchFolders, watchMenus, watchPrompts, watchHelp];
  for (const watch of [...onEveryPage, ...inTheChat]) {
    try {
      watch();
    } catch (error) {
      console.error("Threadkeeper's page script:", error);
    }
  }
};

// A script from the browser's cache can be here before the body is.
if (document.body) start();
else document.addEventListener("DOMContentLoaded", start);
