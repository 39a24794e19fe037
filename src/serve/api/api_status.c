/* The API door: status and members. Both are stale reads: they must work without a leader. */
#include "api/api_priv.h"

#include "text/text.h"

enum {
    HEX_TEXT_MAX = 17
};

static void write_hex(struct json_out *out, const char *key, uint64_t value)
{
    char text[HEX_TEXT_MAX];
    text_hex64(value, text);
    json_out_field_str(out, key, text);
}

void api_write_member(struct json_out *out, const struct member *member)
{
    char since[25];
    text_utc(member->since_ms, since);
    json_out_object(out);
    json_out_field_u64(out, "id", member->node);
    json_out_field_bytes(out, "name", member->name);
    json_out_field_str(out, "state", member_state_name(member->state));
    json_out_field_str(out, "since", since);
    json_out_field_bytes(out, "peer_address", member->peer_address);
    json_out_field_bytes(out, "http_address", member->http_address);
    json_out_field_bytes(out, "gateway_address", member->gateway_address);
    json_out_field_bytes(out, "version", member->version);
    json_out_field_u64(out, "boot_count", member->boot_count);
    write_hex(out, "storage_id", member->storage_id);
}

/* ---- status ---------------------------------------------------------------------------------- */

struct status_rows {
    struct json_out *out;
    const struct node_status *status;
    const struct node_cfg *cfg;
};

/* "voter", "learner", or "none". */
static const char *role_of(const struct raft_config *config, uint32_t node)
{
    for (uint32_t i = 0; i < config->count; i++) {
        if (config->members[i].node == node) {
            return raft_member_votes(&config->members[i]) ? "voter" : "learner";
        }
    }
    return "none";
}

static const struct node_peer_status *peer_of(const struct node_status *status, uint32_t node)
{
    for (uint32_t i = 0; i < status->peer_count; i++) {
        if (status->peers[i].id == node) {
            return &status->peers[i];
        }
    }
    return NULL;
}

/* What this node sees of another one by itself. */
static void write_peer(struct json_out *out, const struct node_status *status,
                       const struct node_peer_status *peer)
{
    json_out_field_bool(out, "connected", peer->connected);
    json_out_key(out, "last_heard_ms");
    if (peer->last_heard_ms == UINT64_MAX) {
        json_out_null(out);
    } else {
        json_out_u64(out, peer->last_heard_ms);
    }
    if (status->meta.role == RAFT_LEADER) {
        json_out_field_u64(out, "match", peer->match);
        json_out_field_u64(out, "lag",
                           status->meta.last > peer->match ? status->meta.last - peer->match : 0);
    }
    if (peer->refused[0] != '\0') {
        json_out_field_str(out, "refused", peer->refused);
    }
}

static enum err write_member_row(void *context, const struct member *member)
{
    const struct status_rows *rows = context;
    const struct node_status *status = rows->status;
    const struct node_peer_status *peer = peer_of(status, member->node);
    api_write_member(rows->out, member);
    json_out_field_str(rows->out, "role", role_of(&status->meta.config, member->node));
    json_out_field_bool(rows->out, "leader", member->node == status->meta.leader);
    if (peer != NULL) {
        write_peer(rows->out, status, peer);
    }
    json_out_object_end(rows->out);
    return ERR_OK;
}

static void write_self(const struct status_rows *rows)
{
    struct json_out *out = rows->out;
    json_out_key(out, "node");
    json_out_object(out);
    json_out_field_u64(out, "id", rows->cfg->id);
    json_out_field_str(out, "name", rows->cfg->name);
    json_out_field_str(out, "datacenter", rows->cfg->datacenter);
    json_out_field_str(out, "backend", rows->status->backend);
    write_hex(out, "storage_id", rows->status->storage_id);
    json_out_field_u64(out, "boot_count", rows->status->boot_count);
    json_out_object_end(out);
}

static void write_leader(const struct status_rows *rows, struct table_txn *txn)
{
    struct json_out *out = rows->out;
    struct member member;
    uint32_t leader = rows->status->meta.leader;
    json_out_key(out, "leader");
    if (leader == 0) {
        json_out_null(out);
        return;
    }
    json_out_object(out);
    json_out_field_u64(out, "id", leader);
    json_out_field_bytes(
        out, "name", member_get(txn, leader, &member) == ERR_OK ? member.name : bytes_of(NULL, 0));
    json_out_object_end(out);
}

static void write_raft(const struct status_rows *rows)
{
    struct json_out *out = rows->out;
    const struct node_status *status = rows->status;
    const struct raft_view *meta = &status->meta;
    json_out_field_u64(out, "term", meta->term);
    json_out_field_str(out, "role", raft_role_name(meta->role));
    json_out_field_bool(out, "voter", meta->is_voter);
    json_out_field_bool(out, "repairing", meta->repairing);
    json_out_key(out, "indices");
    json_out_object(out);
    json_out_field_u64(out, "first", meta->first);
    json_out_field_u64(out, "last", meta->last);
    json_out_field_u64(out, "durable", meta->durable);
    json_out_field_u64(out, "commit", meta->commit);
    json_out_field_u64(out, "applied", status->applied);
    json_out_field_u64(out, "snapshot", status->snapshot_index);
    json_out_field_u64(out, "config", meta->config_index);
    json_out_object_end(out);
    json_out_field_u64(out, "lag",
                       meta->commit > status->applied ? meta->commit - status->applied : 0);
    json_out_key(out, "wal");
    json_out_object(out);
    json_out_field_u64(out, "bytes", status->wal_bytes);
    json_out_field_u64(out, "durable_sequence", status->wal_durable_seq);
    json_out_object_end(out);
}

static enum err render_status(struct api_read *read, struct json_out *out,
                              const struct node_snapshot *snapshot, uint64_t index)
{
    (void)index;
    struct web *web = read->ask.door->web;
    struct node_status *status = arena_alloc(read->ask.http->arena, sizeof(*status));
    if (status == NULL) {
        return ERR_FULL;
    }
    node_status_get(web->edge, status);
    struct status_rows rows = {.out = out, .status = status, .cfg = node_config(web->node)};
    json_out_object(out);
    write_self(&rows);
    write_hex(out, "cluster_id", status->cluster_id);
    write_leader(&rows, snapshot->txn);
    json_out_field_bool(out, "known_leader", snapshot->known_leader);
    json_out_field_u64(out, "last_contact_ms", snapshot->last_contact_ms);
    write_raft(&rows);
    json_out_key(out, "members");
    json_out_array(out);
    enum err err = member_each(snapshot->txn, write_member_row, &rows);
    if (err == ERR_OK) {
        json_out_array_end(out);
        json_out_object_end(out);
    }
    return err;
}

void api_status(const struct web_ask *ask)
{
    struct api_read *read = api_read_new(ask);
    if (read != NULL) {
        read->read.consistency = NODE_STALE;
        read->render = render_status;
        api_read_start(read);
    }
}

/* ---- members --------------------------------------------------------------------------------- */

static enum err write_plain_member(void *context, const struct member *member)
{
    struct json_out *out = context;
    api_write_member(out, member);
    json_out_object_end(out);
    return ERR_OK;
}

static enum err render_members(struct api_read *read, struct json_out *out,
                               const struct node_snapshot *snapshot, uint64_t index)
{
    (void)read;
    json_out_object(out);
    json_out_field_u64(out, "index", index);
    json_out_key(out, "members");
    json_out_array(out);
    enum err err = member_each(snapshot->txn, write_plain_member, out);
    if (err == ERR_OK) {
        json_out_array_end(out);
        json_out_object_end(out);
    }
    return err;
}

static enum err index_of_members(struct web_read *read, struct table_txn *txn, uint64_t *ret_index)
{
    (void)read;
    return member_index(txn, ret_index);
}

void api_members(const struct web_ask *ask)
{
    struct api_read *read = api_read_new(ask);
    if (read != NULL) {
        read->read.consistency = NODE_STALE;
        read->render = render_members;
        read->read.index = index_of_members;
        read->read.topics[0] = (struct web_topic){.table = TABLE_MEMBERS, .prefix = true};
        read->read.topic_count = 1;
        api_read_start(read);
    }
}
