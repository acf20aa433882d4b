// A server's page: the log stays at its end while the reader is there, and does not grow for ever.

const LINES = 300;
const log = document.getElementById("log");

if (log) {
  let isAtEnd = true;
  log.scrollTop = log.scrollHeight;
  log.addEventListener("scroll", () => {
    isAtEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 24;
  });
  new MutationObserver(() => {
    log.querySelector(":scope > p")?.remove();
    while (log.childElementCount > LINES) {
      log.firstElementChild.remove();
    }
    if (isAtEnd) {
      log.scrollTop = log.scrollHeight;
    }
  }).observe(log, { childList: true });
}
