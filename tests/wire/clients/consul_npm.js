// The npm client "consul", unmodified, against a cluster. Output is TAP.
// usage: consul_npm.js PORT PORT PORT   (run by npm_test.py, which installs the client beside this file)
"use strict";

const assert = require("node:assert");
const Consul = require("consul");

const clients = process.argv.slice(2).map((port) => new Consul({ host: "127.0.0.1", port: Number(port) }));
const [first, second, third] = clients;

async function until(condition, claim) {
  const end = Date.now() + 30000;
  while (Date.now() < end) {
    if (await condition()) return;
    await new Promise((done) => setTimeout(done, 20));
  }
  throw new Error(`never: ${claim}`);
}

// Resolves with the first change that satisfies the condition.
function changed(watch, condition) {
  return new Promise((done, fail) => {
    const timer = setTimeout(() => fail(new Error("no change within 30 s")), 30000);
    watch.on("change", (data, response) => {
      if (!condition(data)) return;
      clearTimeout(timer);
      watch.end();
      done({ data, response });
    });
    watch.on("error", (error) => {
      clearTimeout(timer);
      watch.end();
      fail(error);
    });
  });
}

const cases = {
  async keys_are_set_got_listed_and_deleted() {
    assert.strictEqual(await first.kv.set("js/a", "hello"), true);
    const row = await second.kv.get("js/a");
    assert.strictEqual(row.Value, "hello");
    assert.strictEqual(row.Flags, 0);
    assert.strictEqual(String(await third.kv.get({ key: "js/a", raw: true })), "hello");
    assert.strictEqual(await first.kv.set({ key: "js/b", value: "2", flags: 7 }), true);
    assert.deepStrictEqual(await second.kv.keys("js/"), ["js/a", "js/b"]);
    assert.strictEqual((await second.kv.get({ key: "js/", recurse: true }))[1].Flags, 7);
    assert.ok(!(await first.kv.set({ key: "js/a", value: "x", cas: "0" })));
    assert.strictEqual(await first.kv.set({ key: "js/a", value: "x", cas: row.ModifyIndex }), true);
    await first.kv.del("js/a");
    assert.strictEqual(await second.kv.get("js/a"), undefined);
    await first.kv.del({ key: "js/", recurse: true });
    assert.strictEqual(await second.kv.get({ key: "js/", recurse: true }), undefined);
  },

  async missing_key_is_watched_until_it_appears() {
    const watch = second.watch({ method: second.kv.get, options: { key: "js/later" }, backoffFactor: 10 });
    const seen = changed(watch, (data) => data && data.Value === "here");
    await new Promise((done) => setTimeout(done, 100));
    await first.kv.set("js/later", "here");
    const { data } = await seen;
    assert.strictEqual(data.Key, "js/later");
  },

  async service_is_registered_listed_and_removed() {
    await first.agent.service.register({
      name: "jsweb", id: "jsweb-1", tags: ["a", "b"], address: "127.0.0.1", port: 3000, meta: { k: "v" },
      check: { ttl: "30s", status: "passing", notes: "beats" },
    });
    const services = await first.agent.service.list();
    assert.deepStrictEqual(services["jsweb-1"].Tags, ["a", "b"]);
    assert.strictEqual(services["jsweb-1"].Port, 3000);
    assert.deepStrictEqual((await second.catalog.service.list()).jsweb, ["a", "b"]);
    const rows = await third.catalog.service.nodes("jsweb");
    assert.strictEqual(rows[0].ServicePort, 3000);
    assert.deepStrictEqual(rows[0].ServiceMeta, { k: "v" });
    const healthy = await third.health.service({ service: "jsweb", passing: true });
    assert.strictEqual(healthy[0].Service.ID, "jsweb-1");
    assert.strictEqual(healthy[0].Checks[0].CheckID, "serfHealth");
    await second.agent.service.deregister("jsweb-1");
    assert.deepStrictEqual(await first.catalog.service.nodes("jsweb"), []);
    await assert.rejects(first.agent.service.deregister("jsweb-1"), /not found/);
  },

  async checks_pass_warn_fail_and_disappear() {
    await first.agent.check.register({ name: "jscheck", ttl: "30s", notes: "an example" });
    const status = async () => (await first.agent.check.list()).jscheck.Status;
    assert.strictEqual(await status(), "critical");
    await second.agent.check.pass("jscheck");
    await until(async () => (await status()) === "passing", "passing");
    await third.agent.check.warn({ id: "jscheck", note: "careful" });
    await until(async () => (await status()) === "warning", "warning");
    await first.agent.check.fail("jscheck");
    await until(async () => (await status()) === "critical", "critical");
    assert.ok((await second.health.state("critical")).some((check) => check.CheckID === "jscheck"));
    await first.agent.check.deregister("jscheck");
    assert.ok(!("jscheck" in (await first.agent.check.list())));
    await assert.rejects(first.agent.check.pass("jscheck"), /not found/);
  },

  async health_is_watched_across_nodes() {
    await first.agent.service.register({ name: "jswatched", check: { ttl: "30s" } });
    const watch = second.watch({ method: second.health.service, options: { service: "jswatched", passing: true } });
    const seen = changed(watch, (data) => data.length === 1);
    await third.agent.check.pass("service:jswatched");
    const { data } = await seen;
    assert.strictEqual(data[0].Service.Service, "jswatched");
    await first.agent.service.deregister("jswatched");
  },

  async maintenance_takes_a_service_out() {
    await first.agent.service.register("jsmaint");
    await first.agent.service.maintenance({ id: "jsmaint", enable: true, reason: "work" });
    assert.deepStrictEqual(await second.health.service({ service: "jsmaint", passing: true }), []);
    await first.agent.service.maintenance({ id: "jsmaint", enable: false });
    assert.strictEqual((await second.health.service({ service: "jsmaint", passing: true })).length, 1);
    await first.agent.service.deregister("jsmaint");
  },

  async cluster_describes_itself() {
    assert.deepStrictEqual(await first.catalog.datacenters(), ["dc1"]);
    const nodes = await first.catalog.node.list();
    assert.deepStrictEqual(nodes.map((node) => node.Node).sort(), ["n1", "n2", "n3"]);
    assert.strictEqual((await first.catalog.node.services("n1")).Node.Node, "n1");
    assert.strictEqual((await first.agent.self()).Config.NodeName, "n1");
    assert.strictEqual((await first.agent.members()).length, 3);
    assert.match(await first.status.leader(), /^127\.0\.0\.1:\d+$/);
    assert.strictEqual((await first.status.peers()).length, 3);
    assert.strictEqual((await first.health.node("n2"))[0].CheckID, "serfHealth");
    assert.deepStrictEqual(await first.health.checks("nothing"), []);
  },

  async what_is_not_built_says_so() {
    await assert.rejects(first.session.create(), /not found/);
  },
};

async function main() {
  const names = Object.keys(cases);
  let failed = 0;
  console.log(`1..${names.length}`);
  for (const [number, name] of names.entries()) {
    try {
      await cases[name]();
      console.log(`ok ${number + 1} - ${name}`);
    } catch (error) {
      failed += 1;
      console.log(String(error.stack || error).replace(/^/gm, "# "));
      console.log(`not ok ${number + 1} - ${name}`);
    }
  }
  process.exit(failed === 0 ? 0 : 1);
}

main();
