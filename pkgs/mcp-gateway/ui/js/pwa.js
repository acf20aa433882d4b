// Registers the worker that shows a page of ours while the gateway is away (faces/ui/pwa.py). Browsers have
// workers in secure contexts only: https, and localhost.

if (globalThis.isSecureContext && "serviceWorker" in navigator) {
  navigator.serviceWorker.register("/sw.js", { scope: "/", updateViaCache: "none" }).catch((problem) => {
    console.warn("No page for when the gateway is away:", problem);
  });
}
