// Posts a body and reads the answer, as Node's fetch does. Arguments: URL, bytes, times, status, then headers.
const [url, size, times, status] = process.argv.slice(2);
const headers = process.argv.slice(6).map((header) => header.split(': '));
const body = new Uint8Array(Number(size)).fill(120);
let heard = 0;
let error = '';
for (let n = 0; n < Number(times); n += 1) {
  try {
    // A connection that is refused is closed, so no later request may want it.
    const response = await fetch(url, { method: 'POST', body, headers: [...headers, ['connection', 'close']] });
    const text = await response.text();
    if (response.status === Number(status) && text.includes(`"status":${status}`)) heard += 1;
    else error = `${response.status} ${text}`;
  } catch (failure) {
    error = `${failure} ${failure.cause}`;
  }
}
console.log(`heard ${heard} of ${times} ${error}`);
