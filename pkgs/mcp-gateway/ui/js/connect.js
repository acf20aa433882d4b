// The Connect page: a choice shows at once, and the address in the bar says which client is open.

const form = document.querySelector("form[data-submits]");
form.addEventListener("change", () => form.requestSubmit());
form.querySelector("button").hidden = true;

for (const client of document.querySelectorAll("details.client")) {
  client.addEventListener("toggle", () => {
    if (client.open) {
      const here = new URL(location.href);
      form.elements.client.value = client.id.replace("client-", "");
      here.searchParams.set("client", form.elements.client.value);
      history.replaceState(null, "", here);
    }
  });
}
