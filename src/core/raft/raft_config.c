/* Configurations: who the members are, and all that the log can fall back to.
 *
 * Place: core/raft. "A server always uses the latest configuration in its log, regardless of
 * whether the entry is committed" (section 6), so truncating the log may bring an older one back:
 * the history keeps every configuration after the compaction point, and the one that was active
 * there.
 *
 * Encoding, little-endian: u8 version (1), u8 zero, u16 count; per member u32 node, u8 role,
 * 3 zero bytes, u64 storage id.
 *
 * Deliberately absent: changing the configuration. */
#include "mem/mem.h"
#include "raft/raft_priv.h"

enum {
    CONFIG_VERSION = 1,
    CONFIGS_FIRST_CAP = 2,
};

bool raft_config_valid(const struct raft_config *config)
{
    if (config->count > RAFT_MEMBERS_MAX) {
        return false;
    }
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        bool role_known = member->role == RAFT_VOTER || member->role == RAFT_LEARNER;
        if (member->node == 0 || member->storage_id == 0 || !role_known ||
            raft_config_find(config, member->node) != member) {
            return false;
        }
    }
    return true;
}

const struct raft_member *raft_config_find(const struct raft_config *config, raft_node_id node)
{
    for (uint32_t i = 0; i < config->count; i++) {
        if (config->members[i].node == node) {
            return &config->members[i];
        }
    }
    return NULL;
}

uint32_t raft_config_voters(const struct raft_config *config)
{
    uint32_t voters = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        voters += config->members[i].role == RAFT_VOTER ? 1 : 0;
    }
    return voters;
}

enum err raft_config_encode(const struct raft_config *config, struct buf *to)
{
    CHECK(raft_config_valid(config));
    struct writer w = writer_of(to);
    write_u8(&w, CONFIG_VERSION);
    write_u8(&w, 0);
    write_u16(&w, (uint16_t)config->count);
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        write_u32(&w, member->node);
        write_u32(&w, (uint32_t)member->role); /* the role's byte and three zero bytes */
        write_u64(&w, member->storage_id);
    }
    return w.err;
}

enum err raft_config_decode(struct bytes from, struct raft_config *ret_config)
{
    struct reader r = reader_of(from);
    uint8_t version = read_u8(&r);
    uint8_t zero = read_u8(&r);
    uint16_t count = read_u16(&r);
    if (!reader_ok(&r) || version != CONFIG_VERSION || zero != 0 || count > RAFT_MEMBERS_MAX) {
        return ERR_BAD_INPUT;
    }
    struct raft_config config = {.count = count};
    for (uint32_t i = 0; i < count; i++) {
        config.members[i].node = read_u32(&r);
        uint32_t role = read_u32(&r);
        if (role != RAFT_VOTER && role != RAFT_LEARNER) {
            return ERR_BAD_INPUT;
        }
        config.members[i].role = role == RAFT_VOTER ? RAFT_VOTER : RAFT_LEARNER;
        config.members[i].storage_id = read_u64(&r);
    }
    if (!reader_ok(&r) || reader_left(&r) != 0 || !raft_config_valid(&config)) {
        return ERR_BAD_INPUT;
    }
    *ret_config = config;
    return ERR_OK;
}

void raft_configs_init(struct raft_config_history *history)
{
    history->cap = CONFIGS_FIRST_CAP;
    history->items = mem_alloc_array(history->cap, sizeof(history->items[0]));
    history->count = 1; /* none: index 0, no members */
}

void raft_configs_done(struct raft_config_history *history)
{
    mem_free(history->items);
    *history = (struct raft_config_history){0};
}

bool raft_configs_have_room(const struct raft_config_history *history, uint32_t extra)
{
    return extra <= RAFT_CONFIG_HISTORY_MAX && history->count <= RAFT_CONFIG_HISTORY_MAX - extra;
}

void raft_configs_append(struct raft_config_history *history, raft_index index,
                         const struct raft_config *config)
{
    CHECK(raft_configs_have_room(history, 1));
    CHECK(index > raft_configs_active(history)->index);
    if (history->count == history->cap) {
        history->cap *= 2;
        history->items = mem_resize(history->items, history->cap * sizeof(history->items[0]));
    }
    history->items[history->count++] = (struct raft_config_at){.index = index, .config = *config};
}

bool raft_configs_truncate(struct raft_config_history *history, raft_index from)
{
    uint32_t before = history->count;
    while (history->count > 1 && raft_configs_active(history)->index >= from) {
        history->count--;
    }
    return history->count != before;
}

void raft_configs_compact(struct raft_config_history *history, raft_index index)
{
    uint32_t gone = 0; /* those before the newest one at or before index */
    while (gone + 1 < history->count && history->items[gone + 1].index <= index) {
        gone++;
    }
    history->count -= gone;
    memmove(history->items, history->items + gone, history->count * sizeof(history->items[0]));
}

void raft_configs_reset(struct raft_config_history *history, raft_index index,
                        const struct raft_config *config)
{
    history->count = 1;
    history->items[0] = (struct raft_config_at){.index = index, .config = *config};
}
