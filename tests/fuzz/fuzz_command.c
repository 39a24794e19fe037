/* Fuzz target of core/machine and all that it dispatches to: whatever commands were committed, the
 * state machines refuse or obey.
 *
 * Input: a sequence of {kind number u8, body length u8, body}; a body of length 255 takes the rest.
 * Checked after every command: only "unsupported" may stop the node, a refused command changed
 * nothing but its proposer's row and the applied index, and a duplicate not even that. At the end
 * the running digest is that of the rows. */
#include "check/check.h"
#include "kv/kv.h"
#include "machine/machine.h"
#include "member/member.h"
#include "registry/registry.h"
#include "route/route.h"
#include "setting/setting.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum {
    GROUP = 1,
    REST = 255
};

static const uint16_t KINDS[] = {
    MACHINE_CMD_CANCELED,
    KV_CMD_PUT,
    KV_CMD_DELETE,
    KV_CMD_DELETE_TREE,
    REGISTRY_CMD_SERVICE_REGISTER,
    REGISTRY_CMD_SERVICE_DEREGISTER,
    REGISTRY_CMD_CHECK_REGISTER,
    REGISTRY_CMD_CHECK_DEREGISTER,
    REGISTRY_CMD_CHECK_UPDATE,
    REGISTRY_CMD_MAINTENANCE,
    REGISTRY_CMD_CHECKS_REASSIGN,
    REGISTRY_CMD_REAP,
    MEMBER_CMD_PUT,
    MEMBER_CMD_STATE,
    MEMBER_CMD_REMOVE,
    ROUTE_CMD_PUT,
    ROUTE_CMD_REMOVE,
    SETTING_CMD_PUT,
    SETTING_CMD_REMOVE,
};

enum {
    KIND_COUNT = sizeof(KINDS) / sizeof(KINDS[0])
};

struct run {
    struct apply_sink sink; /* first */
    struct table_mem *mem;
    struct table_txn txn;
    struct machine machine;
    struct buf command;
    uint64_t index;
    uint64_t sequence;
    size_t changes; /* of the last command */
};

static void count_change(struct apply_sink *self, const struct apply_change *change)
{
    struct run *run = (struct run *)(void *)self;
    CHECK(change->index == run->index);
    run->changes++;
}

static void run_init(struct run *run)
{
    *run = (struct run){.sink = {count_change}, .mem = table_mem_new()};
    table_txn_init(&run->txn, table_mem_backend(), run->mem, GROUP, false);
    machine_init(&run->machine);
    buf_init(&run->command, MACHINE_COMMAND_MAX);
}

static void run_done(struct run *run)
{
    machine_done(&run->machine);
    buf_done(&run->command);
    table_mem_free(run->mem);
}

static struct machine_result apply(struct run *run, enum err *ret_err)
{
    struct machine_result result = {.duplicate = false};
    run->changes = 0;
    run->index++;
    struct machine_entry entry = {
        .index = run->index,
        .time_ms = 1000 * run->index,
        .command = buf_bytes(&run->command),
    };
    *ret_err = machine_apply(&run->machine, &run->txn, &entry, &run->sink, &result);
    CHECK(*ret_err == ERR_OK || *ret_err == ERR_UNSUPPORTED);
    return result;
}

/* Applies one command, and at once again: false when the node would stop. */
static bool apply_twice(struct run *run, uint16_t kind, struct bytes body)
{
    struct machine_command command = {
        .kind = kind,
        .proposer = {.node = 1, .incarnation = 1, .sequence = ++run->sequence},
        .body = body,
    };
    buf_clear(&run->command);
    enum err err = machine_command_encode(&command, &run->command);
    CHECK(err == ERR_OK);
    size_t rows = table_mem_count(run->mem);
    struct machine_result result = apply(run, &err);
    if (err != ERR_OK) {
        return false;
    }
    CHECK(!result.duplicate);
    bool refused = result.result.err != ERR_OK;
    CHECK(refused == (result.result.reason[0] != '\0'));
    CHECK(!refused || run->changes == 0);
    /* The first command also begins the rows of its proposer and of the applied index. */
    CHECK(!refused || run->sequence == 1 || table_mem_count(run->mem) == rows);
    result = apply(run, &err);
    CHECK(err == ERR_OK);
    CHECK(result.duplicate);
    CHECK(run->changes == 0);
    return true;
}

/* The digest of all rows, counted anew. */
static void check_digest(struct run *run)
{
    struct table_digest kept;
    struct table_digest counted = {0, 0};
    const struct table_backend *backend = table_mem_backend();
    struct bytes key;
    struct bytes value;
    enum err err = table_digest(&run->txn, &kept);
    CHECK(err == ERR_OK);
    err = backend->seek(run->mem, 0, (struct bytes){NULL, 0}, &key, &value);
    while (err == ERR_OK) {
        err = table_digest_add_stored(&counted, key, value);
        CHECK(err == ERR_OK);
        err = backend->next(run->mem, 0, &key, &value);
    }
    CHECK(err == ERR_NOT_FOUND);
    CHECK(kept.low == counted.low);
    CHECK(kept.high == counted.high);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct run run;
    run_init(&run);
    struct reader r = reader_of(bytes_of(data, size));
    bool running = true;
    while (running && reader_left(&r) >= 2) {
        uint16_t kind = KINDS[read_u8(&r) % KIND_COUNT];
        size_t len = read_u8(&r);
        if (len == REST || len > reader_left(&r)) {
            len = reader_left(&r);
        }
        running = apply_twice(&run, kind, read_raw(&r, len));
    }
    if (running) {
        check_digest(&run);
    }
    run_done(&run);
    return 0;
}
