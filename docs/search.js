// The search takes `--fake` for "without fake", and `what: why` for "why, in the field what". Here both are what
// somebody has copied, and looks for: so it is asked for the words alone, for all of them of `--dry-run`.
const QUERY = 2;
const post = Worker.prototype.postMessage;

Worker.prototype.postMessage = function (message, ...others) {
  const isQuery = message?.type === QUERY && typeof message.data === "string";
  post.call(this, isQuery ? { ...message, data: wordsOf(message.data) } : message, ...others);
};

function wordsOf(query) {
  const words = query.replace(/[^\p{L}\p{N}_"*-]+/gu, " ").trim().split(" ");
  return words.map((word) => {
    const parts = word.split("-").filter(Boolean);
    return parts.length > 1 ? `"${parts.join(" ")}"` : parts.join("");
  }).join(" ");
}
