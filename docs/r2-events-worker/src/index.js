// Takes R2's event notifications from a queue and posts them to Stocktake, signed. What Stocktake has not taken is tried again.

const RETRY_SECONDS = 30;
const ANSWER_MILLISECONDS = 28000; // the API behind it gives up after 30 s

export default {
  async queue(batch, env) {
    // a body that JSON cannot say is sent as null: Stocktake puts it into its dead-letter queue, where somebody looks
    const messages = batch.messages.map(({ id, body }) => ({ id, body: body ?? null }));
    if (await isTaken(env, JSON.stringify({ messages }))) {
      batch.ackAll();
    } else {
      batch.retryAll({ delaySeconds: RETRY_SECONDS });
    }
  },
};

async function isTaken(env, body) {
  try {
    const response = await fetch(new URL("/events/r2", env.STOCKTAKE_URL), {
      method: "POST",
      headers: {
        "content-type": "application/json",
        "user-agent": "stocktake-r2-events",
        "stocktake-signature": await signature(env.WEBHOOK_SECRET, body),
      },
      body,
      redirect: "manual",
      signal: AbortSignal.timeout(ANSWER_MILLISECONDS),
    });
    if (response.status !== 202) {
      console.error(`Stocktake answered ${response.status}: ${await response.text()}`);
    }
    return response.status === 202;
  } catch (error) {
    console.error(`Stocktake could not be asked: ${error}`);
    return false;
  }
}

async function signature(secret, body) {
  const encoder = new TextEncoder();
  const at = Math.floor(Date.now() / 1000);
  const key = await crypto.subtle.importKey("raw", encoder.encode(secret), { name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const mac = await crypto.subtle.sign("HMAC", key, encoder.encode(`${at}.${body}`));
  const hex = Array.from(new Uint8Array(mac), (byte) => byte.toString(16).padStart(2, "0")).join("");
  return `t=${at},v1=${hex}`;
}
