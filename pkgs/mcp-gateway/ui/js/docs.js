// The page of the API: Swagger UI over one of our own documents, in the colours of the page.

const place = document.getElementById("api");
const choice = document.querySelector("form[data-submits]");
choice.addEventListener("change", () => choice.requestSubmit());
choice.querySelector("button").hidden = true;

const dark = matchMedia("(prefers-color-scheme: dark)");
const follow = () => document.documentElement.classList.toggle("dark-mode", dark.matches);
dark.addEventListener("change", follow);
follow();

// What servers say of themselves is text and nothing else: no pictures, no links, no markup.
const asText = ({ React }) => ({
  components: { Markdown: ({ source }) => React.createElement("p", { className: "words" }, source) },
});

globalThis.SwaggerUIBundle({
  plugins: [asText],
  domNode: place,
  url: place.dataset.document,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null, // no document goes to anybody else
  persistAuthorization: false,
});
