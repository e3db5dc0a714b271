// Completes Chainlit's page. If a part fails, the others and the page go on without it.
import { texts } from "./server.js";
import { watchDialogs } from "./dialogs.js";
import { watchEdits } from "./edits.js";
import { watchSearch } from "./search.js";
import { watchThread } from "./thread.js";
import { watchVotes } from "./votes.js";

for (const start of [watchDialogs, watchVotes, watchEdits, watchSearch, watchThread]) {
  try {
    start();
  } catch (error) {
    console.error("Threadkeeper's page script:", error);
  }
}
if (!/\/login(?:\/|$)/.test(location.pathname)) texts();
