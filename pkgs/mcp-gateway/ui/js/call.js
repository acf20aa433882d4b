// The page of a call: buttons that need a script appear with it.

function show() {
  for (const button of document.querySelectorAll("[data-scripted]")) {
    button.hidden = false;
  }
}

show();
document.addEventListener("htmx:after:swap", show);
