// One call with Node's own fetch. No signing library, no key.
const gateway = process.env.TENCENT_API ?? 'http://127.0.0.1:8080';

async function call(api, body) {
  const response = await fetch(`${gateway}/v4/${api}`, {
    method: 'POST',
    headers: { 'content-type': 'application/json', 'x-caller': 'example-node' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(25_000),
  });
  // Refusals of the gateway's own have another status and the same shape, so the status need not be looked at.
  return response.json();
}

const answer = await call('live_config/get_callback', {});
console.log(JSON.stringify(answer));
process.exitCode = answer.ErrorCode === 0 ? 0 : 1;
