/* Configurations: who the members are, and all that the log can fall back to.
 *
 * Place: core/raft. "A server always uses the latest configuration in its log, regardless of
 * whether the entry is committed" (section 6), so truncating the log may bring an older one back:
 * the history keeps every configuration after the compaction point, and the one that was active
 * there.
 *
 * Encoding, little-endian, 16 bytes per member in both versions:
 *
 *   version 1   u8 version (1), u8 zero, u16 count;
 *               per member u32 node, u8 role, 3 zero bytes, u64 storage id
 *   version 2   u8 version (2), u8 bit 0 joint, u16 count;
 *               per member u32 node, u8 role, u8 role in the old half, u16 zero, u64 storage id
 *
 * Version 1 knows voters and learners and is written wherever it can say everything, so that data
 * directories without a change under way stay what they were.
 *
 * Deliberately absent: deciding what to change to (raft_members.c). */
#include "mem/mem.h"
#include "raft/raft_priv.h"

enum {
    CONFIG_PLAIN = 1,
    CONFIG_JOINT = 2,
    FLAG_JOINT = 1,
    CONFIGS_FIRST_CAP = 2,
};

static bool member_valid(const struct raft_config *config, const struct raft_member *member)
{
    enum raft_member_role role = member->role;
    enum raft_member_role old = member->role_old;
    bool known = role <= RAFT_PROMOTABLE && old <= RAFT_PROMOTABLE;
    bool has_role = config->joint ? role != RAFT_NOT_A_MEMBER || old != RAFT_NOT_A_MEMBER
                                  : role != RAFT_NOT_A_MEMBER && old == RAFT_NOT_A_MEMBER;
    bool in_range = member->node != 0 && member->node <= RAFT_NODE_ID_MAX;
    return in_range && member->storage_id != 0 && known && has_role &&
           raft_config_find(config, member->node) == member;
}

bool raft_config_valid(const struct raft_config *config)
{
    if (config->count > RAFT_MEMBERS_MAX) {
        return false;
    }
    uint32_t voters = 0;
    uint32_t voters_old = 0;
    for (uint32_t i = 0; i < config->count; i++) {
        if (!member_valid(config, &config->members[i])) {
            return false;
        }
        voters += config->members[i].role == RAFT_VOTER ? 1 : 0;
        voters_old += config->members[i].role_old == RAFT_VOTER ? 1 : 0;
    }
    return !config->joint || (voters > 0 && voters_old > 0);
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
        voters += raft_member_votes(&config->members[i]) ? 1 : 0;
    }
    return voters;
}

bool raft_config_join(const struct raft_config *old, const struct raft_config *target,
                      struct raft_config *ret_joint)
{
    CHECK(!old->joint && !target->joint);
    struct raft_config joint = {.joint = true};
    for (uint32_t i = 0; i < old->count; i++) {
        joint.members[i] = old->members[i];
        joint.members[i].role_old = old->members[i].role;
        joint.members[i].role = RAFT_NOT_A_MEMBER;
    }
    joint.count = old->count;
    for (uint32_t i = 0; i < target->count; i++) {
        const struct raft_member *wanted = &target->members[i];
        uint32_t at = 0;
        while (at < joint.count && joint.members[at].node != wanted->node) {
            at++;
        }
        if (at == RAFT_MEMBERS_MAX) {
            return false;
        }
        joint.count += at == joint.count ? 1 : 0;
        joint.members[at].node = wanted->node;
        joint.members[at].role = wanted->role;
        joint.members[at].storage_id = wanted->storage_id;
    }
    *ret_joint = joint;
    return true;
}

void raft_config_leave(const struct raft_config *joint, struct raft_config *ret_config)
{
    CHECK(joint->joint);
    struct raft_config config = {.joint = false};
    for (uint32_t i = 0; i < joint->count; i++) {
        if (joint->members[i].role != RAFT_NOT_A_MEMBER) {
            config.members[config.count] = joint->members[i];
            config.members[config.count++].role_old = RAFT_NOT_A_MEMBER;
        }
    }
    *ret_config = config;
}

bool raft_config_same(const struct raft_config *a, const struct raft_config *b)
{
    for (uint32_t i = 0; i < a->count; i++) {
        const struct raft_member *x = &a->members[i];
        const struct raft_member *y = raft_config_find(b, x->node);
        if (y == NULL || x->role != y->role || x->role_old != y->role_old ||
            x->storage_id != y->storage_id) {
            return false;
        }
    }
    return a->count == b->count && a->joint == b->joint;
}

static bool needs_version_2(const struct raft_config *config)
{
    bool promotable = false;
    for (uint32_t i = 0; i < config->count; i++) {
        promotable = promotable || config->members[i].role == RAFT_PROMOTABLE;
    }
    return config->joint || promotable;
}

enum err raft_config_encode(const struct raft_config *config, struct buf *to)
{
    CHECK(raft_config_valid(config));
    struct writer w = writer_of(to);
    write_u8(&w, needs_version_2(config) ? CONFIG_JOINT : CONFIG_PLAIN);
    write_u8(&w, config->joint ? FLAG_JOINT : 0);
    write_u16(&w, (uint16_t)config->count);
    for (uint32_t i = 0; i < config->count; i++) {
        const struct raft_member *member = &config->members[i];
        write_u32(&w, member->node);
        write_u8(&w, (uint8_t)member->role);
        write_u8(&w, (uint8_t)member->role_old);
        write_u16(&w, 0);
        write_u64(&w, member->storage_id);
    }
    return w.err;
}

/* False for a role that the version does not have. */
static bool decode_member(struct reader *r, uint8_t version, struct raft_member *ret_member)
{
    ret_member->node = read_u32(r);
    uint8_t role = read_u8(r);
    uint8_t old = read_u8(r);
    uint16_t zero = read_u16(r);
    uint8_t highest = version == CONFIG_PLAIN ? RAFT_LEARNER : RAFT_PROMOTABLE;
    if (role > highest || old > highest || zero != 0) {
        return false;
    }
    ret_member->role = (enum raft_member_role)role;
    ret_member->role_old = (enum raft_member_role)old;
    ret_member->storage_id = read_u64(r);
    return true;
}

enum err raft_config_decode(struct bytes from, struct raft_config *ret_config)
{
    struct reader r = reader_of(from);
    uint8_t version = read_u8(&r);
    uint8_t flags = read_u8(&r);
    uint16_t count = read_u16(&r);
    bool known = version == CONFIG_PLAIN ? flags == 0 : (flags & ~(unsigned)FLAG_JOINT) == 0;
    if (!reader_ok(&r) || (version != CONFIG_PLAIN && version != CONFIG_JOINT) || !known ||
        count > RAFT_MEMBERS_MAX) {
        return ERR_BAD_INPUT;
    }
    struct raft_config config = {.count = count, .joint = (flags & FLAG_JOINT) != 0};
    for (uint32_t i = 0; i < count; i++) {
        if (!decode_member(&r, version, &config.members[i])) {
            return ERR_BAD_INPUT;
        }
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

const struct raft_config_at *raft_configs_at(const struct raft_config_history *history,
                                             raft_index index)
{
    uint32_t i = history->count - 1;
    while (i > 0 && history->items[i].index > index) {
        i--;
    }
    return &history->items[i];
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
