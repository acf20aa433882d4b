// The page "Add a server": what was looked at is not what is saved any more, once the text is another.

const form = document.getElementById("add");

form.addEventListener("input", () => document.getElementById("proposal").replaceChildren());
