#!/usr/bin/env bash
# Guess: a page that connects twice keeps its second connection. Opened at the address of a thread, Chainlit's page does
#   so each time: at first without the thread, and some milliseconds later with it.
# True: before each connection the page asks for a cookie, and waits for the answer. What it keeps is the connection whose
#   cookie was answered last, not the one that was asked for last. If the answers come in the other order, the page has a
#   connection without its thread: the thread never appears, or the next question begins another one.
# For a chat like ours: it happened on a busy machine. Keep the answer to a cookie back for good if another one was
#   asked for meanwhile.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"
npm install --silent --no-audit --no-fund @chainlit/react-client@0.3.0 react@18.3.1 react-dom@18.3.1 recoil@0.7.7 \
  jsdom@26.1.0 socket.io-client@4.8.3 swr@2.2.2
cat >page.js <<'JS'
const { JSDOM } = require("jsdom");
const dom = new JSDOM("", { url: "http://chat.test/", pretendToBeVisual: true });
Object.assign(globalThis, { window: dom.window, document: dom.window.document, localStorage: dom.window.localStorage });
globalThis.navigator ??= dom.window.navigator;
const { createElement } = require("react");
const { createRoot } = require("react-dom/client");
const { RecoilRoot } = require("recoil");
const client = require("@chainlit/react-client");

const wait = (milliseconds) => new Promise((done) => setTimeout(done, milliseconds));
let answerAfter = [];
globalThis.fetch = async () => {
  await wait(answerAfter.shift());
  return { ok: true, json: async () => ({}) };
};

// The thread of the connection that a page keeps, if its two cookies are answered after these milliseconds.
async function kept(first, second) {
  answerAfter = [first, second];
  let chat, interact;
  const Page = () => {
    chat = client.useChatSession();
    interact = client.useChatInteract();
    return null;
  };
  const root = createRoot(document.createElement("div"));
  const api = new client.ChainlitAPI("http://127.0.0.1:9", "webapp");
  const page = createElement(RecoilRoot, null, createElement(Page));
  root.render(createElement(client.ChainlitContext.Provider, { value: api }, page));
  await wait(50);
  chat.connect({ transports: ["polling"], userEnv: {} });
  interact.clear();
  interact.setIdToResume("the thread");
  await wait(20);
  chat.connect({ transports: ["polling"], userEnv: {} });
  await wait(1500);
  const thread = chat.session.socket.auth.threadId;
  chat.session.socket.close();
  root.unmount();
  return thread;
}

(async () => {
  const seen = [await kept(0, 100), await kept(300, 0)];
  console.log("@chainlit/react-client", require("@chainlit/react-client/package.json").version);
  console.log('guess: answered in order: "the thread"; in the other order: "the thread"');
  console.log(`seen:  answered in order: "${seen[0]}"; in the other order: "${seen[1]}"`);
  if (seen[0] !== "the thread" || seen[1] !== "") {
    console.error("The behaviour has changed.");
    process.exit(1);
  }
  process.exit(0);
})();
JS
node page.js
