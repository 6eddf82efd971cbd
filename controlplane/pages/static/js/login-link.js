// A client's link: its ticket goes from the address, where nobody but this page sees it, into the form.

const form = document.getElementById('link');
const ticket = location.hash.slice(1);
if (ticket) {
  history.replaceState(null, '', location.pathname);
  form.elements.ticket.value = ticket;
  form.querySelector('button').disabled = false;
}
