// Requests to this server, and the texts of the page.

// The application's address, which may have a path of its own behind a proxy.
export const root = new URL("../../", import.meta.url);

/** Send a request; returns the JSON of the answer. Throws unless the answer is a success. */
export const ask = async (method, path, body) => {
  const answer = await fetch(new URL(path, root), {
    method,
    headers: body ? { "Content-Type": "application/json" } : {},
    body: body ? JSON.stringify(body) : undefined,
    keepalive: method !== "GET",
  });
  if (!answer.ok) throw new Error(`${method} ${path} was answered with ${answer.status}`);
  return answer.json();
};

let loading = null;

/** The texts, by key, their language, and the reasons for a thumbs-down, as pairs of id and label. Loaded once. */
export const texts = () => (loading ??= ask("GET", "page/texts").catch(() => {
  loading = null;
  return { texts: {}, reasons: [] };
}));

/** A text of `texts()` for a number: an object has a text for each plural form, or for an exact number. */
export const counted = ({ texts: words, language }, key, count) => {
  const message = words[key];
  if (!message) return "";
  const form = typeof message === "string" ? message : message[count] ?? message[new Intl.PluralRules(language).select(count)];
  return (form ?? message.other).replace("{count}", count.toLocaleString(language));
};

/** The id of the thread in the address bar; "" without one. `kind`: "thread" or "share". */
export const threadAt = (kind) => {
  const path = location.pathname.startsWith(root.pathname) ? location.pathname.slice(root.pathname.length) : "";
  return new RegExp(`^${kind}/([0-9a-f-]{36})$`).exec(path)?.[1] ?? "";
};

/** An element with this class, text and children. */
export const make = (tag, className, ...children) => {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...children);
  return made;
};
