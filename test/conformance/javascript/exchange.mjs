// Publishes with the official CloudEvents SDK at one node and receives at
// another, in every way that there is: node exchange.mjs URL-HERE URL-THERE.
// Ends with 0 when all events came through as they were, in order.

import assert from "node:assert/strict";
import { CloudEvent, HTTP, Mode, emitterFor, httpTransport } from "cloudevents";
import WebSocket from "ws";

const [nodeHere, nodeThere] = process.argv.slice(2);
const [here, there] = [nodeHere, nodeThere].map((url) => url + "/events");
const type = "org.example.javascript";
const bytes = Uint8Array.from([0, 255, 10, 128, 34]);

// The events of one mode: their data is JSON, text and bytes.
function eventsOf(mode) {
  const base = {
    source: "/javascript/sdk",
    type,
    subject: "a subject",
    time: "2026-07-23T10:11:12.345Z",
    dataschema: "https://example.org/schema",
    partitionkey: "k 1",
  };
  return [
    new CloudEvent({ ...base, id: mode + " json", datacontenttype: "application/json", data: { n: 1.5, s: "käse \"€\"" } }),
    new CloudEvent({ ...base, id: mode + " text", datacontenttype: "text/plain", data: "two\nlines" }),
    new CloudEvent({ ...base, id: mode + " bytes", datacontenttype: "application/octet-stream", data: bytes }),
  ];
}

const all = ["binary", "structured", "batch"].flatMap(eventsOf);

// What must be the same at the end: all attributes and the data. The SDK gives
// bytes back as another kind of array than it took.
function essence(event) {
  const { data, data_base64, ...attributes } = event;
  for (const name of Object.keys(attributes)) {
    if (attributes[name] === undefined) {
      delete attributes[name];
    }
  }
  attributes.time = new Date(event.time).toISOString();
  return { ...attributes, data: ArrayBuffer.isView(data) ? Array.from(data) : data };
}

// The receivers: each calls ready once it is subscribed, and resolves with as
// many events as there are.

async function serverSentEvents(ready) {
  const res = await fetch(`${there}?type=${type}`, { headers: { accept: "text/event-stream" } });
  assert.equal(res.status, 200);
  ready();
  const events = [];
  let text = "";
  for await (const chunk of res.body.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    for (let end; (end = text.indexOf("\n\n")) >= 0; text = text.slice(end + 2)) {
      const data = text.slice(0, end).split("\n").filter((l) => l.startsWith("data: ")).map((l) => l.slice(6)).join("\n");
      if (data) {
        events.push(HTTP.toEvent({ headers: { "content-type": "application/cloudevents+json" }, body: data }));
      }
    }
    if (events.length >= all.length) {
      break; // which ends the request
    }
  }
  return events;
}

function webSocket(ready) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${there.replace(/^http/, "ws")}?type=${type}`, "cloudevents.json");
    const events = [];
    socket.on("open", ready);
    socket.on("error", reject);
    socket.on("close", (code, why) => reject(new Error(`the WebSocket closed with ${code} ${why}`)));
    socket.on("message", (message) => {
      events.push(HTTP.toEvent({ headers: { "content-type": "application/cloudevents+json" }, body: message.toString() }));
      if (events.length >= all.length) {
        resolve(events);
        socket.close();
      }
    });
  });
}

async function longPoll(ready) {
  const ask = async (query) => {
    const res = await fetch(`${there}?${query}`, { headers: { accept: "application/cloudevents-batch+json" } });
    const body = await res.text();
    assert.equal(res.status, 200, body);
    return [res.headers.get("skein-poll"), HTTP.toEvent({ headers: Object.fromEntries(res.headers), body })];
  };
  let [cursor, events] = await ask(`type=${type}&wait=50ms`); // too early for any event
  assert.deepEqual(events, []);
  ready();
  while (events.length < all.length) {
    const [next, more] = await ask(`poll=${cursor}&wait=5s`);
    cursor = next;
    events.push(...more);
  }
  return events;
}

// Waits until the node here knows of the subscriptions there: on a machine that
// is busy enough their barriers may be over before.
async function spread() {
  for (;;) {
    const res = await fetch(nodeHere + "/mesh/interests");
    const known = await res.json();
    if (known.some((i) => i.scope === "region" && i.filter.includes(type))) {
      return;
    }
    await new Promise((later) => setTimeout(later, 20));
  }
}

async function publish() {
  const binary = emitterFor(httpTransport(here));
  const structured = emitterFor(httpTransport(here), { mode: Mode.STRUCTURED });
  for (const event of eventsOf("binary")) {
    await binary(event);
  }
  for (const event of eventsOf("structured")) {
    await structured(event);
  }
  const res = await fetch(here, { // the SDK reads batches and does not write them
    method: "POST",
    headers: { "content-type": "application/cloudevents-batch+json" },
    body: JSON.stringify(eventsOf("batch")),
  });
  assert.equal(res.status, 202, await res.text());
}

const receivers = [serverSentEvents, webSocket, longPoll];
const subscribed = [];
const received = receivers.map((receive) => {
  let result;
  subscribed.push(new Promise((ready, failed) => {
    result = receive(ready);
    result.catch(failed);
  }));
  return result;
});
await Promise.all(subscribed);
await spread();
await publish();
for (const [i, events] of (await Promise.all(received)).entries()) {
  assert.deepEqual(events.map(essence), all.map(essence), receivers[i].name);
  console.log(`${receivers[i].name}: ${events.length} events as they were`);
}
process.exit(0); // connections that are kept alive would hold the process
