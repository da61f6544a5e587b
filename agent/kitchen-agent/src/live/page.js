// Asks for the newest picture twice a second. A picture that can't be had is taken away, never left standing.
const image = document.querySelector('img');
const line = document.querySelector('p');
let shown = null;

function show(state, text) {
  document.body.className = state;
  line.textContent = text;
}

async function look() {
  try {
    const answer = await fetch('/picture.jpg', { cache: 'no-store' });
    if (answer.ok) {
      const url = URL.createObjectURL(await answer.blob());
      image.src = url;
      if (shown) URL.revokeObjectURL(shown);
      shown = url;
      show('online', new Date().toLocaleTimeString());
    } else {
      show('offline', await answer.text());
    }
  } catch {
    show('offline', document.body.dataset.ended);
  }
  setTimeout(look, 500);
}

look();
