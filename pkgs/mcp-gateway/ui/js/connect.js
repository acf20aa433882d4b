// The Connect page: a choice shows at once, and the address in the bar says which client is open.

const form = document.querySelector("form[data-submits]");
form.addEventListener("change", () => form.requestSubmit());
form.querySelector("button").hidden = true;

for (const client of document.querySelectorAll("details.client")) {
  client.addEventListener("toggle", () => {
    if (client.open) {
      const here = new URL(location.href);
      here.searchParams.set("client", client.id.replace("client-", ""));
      history.replaceState(null, "", here);
    }
  });
}
