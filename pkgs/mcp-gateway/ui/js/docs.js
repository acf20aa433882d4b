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

// What stands in the field for the arguments at first. Swagger UI would make texts of a server's patterns and
// lengths, and lists of its lengths: there are ones that no browser gets through.
const EMPTY = { string: "", integer: 0, number: 0, boolean: false, object: {}, array: [] };

function begun(schema) {
  const properties = Object.entries(schema?.properties ?? {});
  const required = new Set(schema?.required ?? []);
  const of = (one) => one?.default ?? one?.enum?.[0] ?? EMPTY[one?.type] ?? null;
  return Object.fromEntries(
    properties.filter(([name]) => required.has(name)).map(([name, one]) => [name, of(one)]),
  );
}

const withoutBombs = () => ({
  afterLoad() {
    this.fn.getSampleSchema = (schema) => JSON.stringify(begun(schema?.toJS?.() ?? schema), null, 2);
  },
});

globalThis.SwaggerUIBundle({
  plugins: [asText, withoutBombs],
  domNode: place,
  url: place.dataset.document,
  deepLinking: true,
  docExpansion: "list",
  defaultModelsExpandDepth: 0,
  validatorUrl: null, // no document goes to anybody else
  persistAuthorization: false,
});
