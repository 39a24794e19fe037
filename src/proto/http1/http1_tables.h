/* The three lists of HTTP/1: methods, well-known header fields, reasons for refusing a message.
 *
 * Place: proto/http1; included through http1/http1.h. A list is the only place where its things are
 * named; enums, name tables and the recogniser are made from it.
 *
 * Sources: RFC 9110 (methods section 9, status section 15, fields), RFC 9112 (framing),
 * RFC 6455. */
#ifndef HTTP1_HTTP1_TABLES_H
#define HTTP1_HTTP1_TABLES_H

/* X(enum name, token, safe, idempotent): RFC 9110 section 9.2, RFC 5789. */
/* clang-format off */
#define HTTP1_METHODS(X)           \
    X(GET,     "GET",     1, 1)    \
    X(HEAD,    "HEAD",    1, 1)    \
    X(POST,    "POST",    0, 0)    \
    X(PUT,     "PUT",     0, 1)    \
    X(DELETE,  "DELETE",  0, 1)    \
    X(OPTIONS, "OPTIONS", 1, 1)    \
    X(PATCH,   "PATCH",   0, 0)    \
    X(TRACE,   "TRACE",   1, 1)    \
    X(CONNECT, "CONNECT", 0, 0)

/* X(enum name, name as written, first letter, last letter but one, flags). These two letters (lower
 * case) and the length are the recogniser's hash; two names with one hash do not compile. Flags:
 *   H  connection-specific: a relay removes it, and writes its own when it needs one
 *   R  a Connection field that nominates it is refused
 *   P  protected: a nomination in Connection is ignored
 *   T  may not stand in trailers (framing, routing, authorization, payload; RFC 9110
 *   section 6.5.1) */
#define HTTP1_HEADERS(X)                                                       \
    X(HOST,                "Host",                'h', 's', R | T)             \
    X(CONNECTION,          "Connection",          'c', 'o', H | T)             \
    X(CONTENT_LENGTH,      "Content-Length",      'c', 't', R | T)             \
    X(TRANSFER_ENCODING,   "Transfer-Encoding",   't', 'n', H | R | T)         \
    X(EXPECT,              "Expect",              'e', 'c', H | T)             \
    X(UPGRADE,             "Upgrade",             'u', 'd', H | T)             \
    X(KEEP_ALIVE,          "Keep-Alive",          'k', 'v', H | T)             \
    X(TE,                  "TE",                  't', 't', H | T)             \
    X(TRAILER,             "Trailer",             't', 'e', H | T)             \
    X(PROXY_CONNECTION,    "Proxy-Connection",    'p', 'o', H | T)             \
    X(PROXY_AUTHENTICATE,  "Proxy-Authenticate",  'p', 't', H | T)             \
    X(PROXY_AUTHORIZATION, "Proxy-Authorization", 'p', 'o', H | T)             \
    X(HTTP2_SETTINGS,      "HTTP2-Settings",      'h', 'g', H | T)             \
    X(AUTHORIZATION,       "Authorization",       'a', 'o', P | T)             \
    X(COOKIE,              "Cookie",              'c', 'i', P | T)             \
    X(SET_COOKIE,          "Set-Cookie",          's', 'i', P | T)             \
    X(FORWARDED,           "Forwarded",           'f', 'e', P | T)             \
    X(X_FORWARDED_FOR,     "X-Forwarded-For",     'x', 'o', P | T)             \
    X(X_FORWARDED_HOST,    "X-Forwarded-Host",    'x', 's', P | T)             \
    X(X_FORWARDED_PROTO,   "X-Forwarded-Proto",   'x', 't', P | T)             \
    X(X_FORWARDED_PORT,    "X-Forwarded-Port",    'x', 'r', P | T)             \
    X(X_FORWARDED_PREFIX,  "X-Forwarded-Prefix",  'x', 'i', P | T)             \
    X(X_REAL_IP,           "X-Real-IP",           'x', 'i', P | T)             \
    X(X_REQUEST_ID,        "X-Request-Id",        'x', 'i', P | T)             \
    X(TRACEPARENT,         "traceparent",         't', 'n', P | T)             \
    X(TRACESTATE,          "tracestate",          't', 't', P | T)             \
    X(VIA,                 "Via",                 'v', 'i', P | T)             \
    X(CONTENT_TYPE,        "Content-Type",        'c', 'p', P | T)             \
    X(CONTENT_ENCODING,    "Content-Encoding",    'c', 'n', P | T)             \
    X(CONTENT_RANGE,       "Content-Range",       'c', 'g', P | T)             \
    X(ACCEPT,              "Accept",              'a', 'p', T)                 \
    X(ACCEPT_ENCODING,     "Accept-Encoding",     'a', 'n', T)                 \
    X(USER_AGENT,          "User-Agent",          'u', 'n', T)                 \
    X(ORIGIN,              "Origin",              'o', 'i', P | T)             \
    X(RANGE,               "Range",               'r', 'g', T)                 \
    X(IF_MATCH,            "If-Match",            'i', 'c', T)                 \
    X(IF_NONE_MATCH,       "If-None-Match",       'i', 'c', T)                 \
    X(IF_MODIFIED_SINCE,   "If-Modified-Since",   'i', 'c', T)                 \
    X(MAX_FORWARDS,        "Max-Forwards",        'm', 'd', T)                 \
    X(CACHE_CONTROL,       "Cache-Control",       'c', 'o', P | T)             \
    X(AGE,                 "Age",                 'a', 'g', T)                 \
    X(EXPIRES,             "Expires",             'e', 'e', T)                 \
    X(DATE,                "Date",                'd', 't', T)                 \
    X(LOCATION,            "Location",            'l', 'o', P | T)             \
    X(RETRY_AFTER,         "Retry-After",         'r', 'e', T)                 \
    X(VARY,                "Vary",                'v', 'r', P | T)             \
    X(ALLOW,               "Allow",               'a', 'o', 0)                 \
    X(SERVER,              "Server",              's', 'e', 0)                 \
    X(ETAG,                "ETag",                'e', 'a', 0)                 \
    X(LAST_MODIFIED,       "Last-Modified",       'l', 'e', 0)                 \
    X(WWW_AUTHENTICATE,    "WWW-Authenticate",    'w', 't', P | T)             \
    X(SEC_WEBSOCKET_KEY,   "Sec-WebSocket-Key",   's', 'e', P | T)             \
    X(SEC_WEBSOCKET_ACCEPT,"Sec-WebSocket-Accept",'s', 'p', P | T)             \
    X(X_BREAKER,           "X-Breaker",           'x', 'e', P | T)             \
    X(X_SERVICE,           "X-Service",           'x', 'c', P | T)             \
    X(X_CONSUL_TOKEN,      "X-Consul-Token",      'x', 'e', P | T)

/* X(enum name, stable name, status to answer, sentence). The stable name goes to logs, metrics and
 * the body of the answer. The status is for a refused request; a refused response is a 502. */
#define HTTP1_REASONS(X)                                                                           \
    X(NONE, "none", 0, "the message was not refused")                                              \
    X(BARE_CR, "bare_cr", 400, "a CR is not followed by LF")                                       \
    X(BARE_LF, "bare_lf", 400, "a line ends with LF instead of CRLF")                              \
    X(CONTROL_BYTE, "control_byte", 400, "a control byte stands in the head")                      \
    X(START_LINE_TOO_LONG, "start_line_too_long", 414, "the first line is too long")               \
    X(START_LINE_MALFORMED, "start_line_malformed", 400, "the first line is malformed")            \
    X(METHOD_INVALID, "method_invalid", 400, "the method is not a token")                          \
    X(METHOD_TOO_LONG, "method_too_long", 501, "the method is too long")                           \
    X(TARGET_INVALID, "target_invalid", 400, "the request target is malformed")                    \
    X(VERSION_MISSING, "version_missing", 400, "the request line has no HTTP version")             \
    X(VERSION_MALFORMED, "version_malformed", 400, "the HTTP version is malformed")                \
    X(VERSION_UNSUPPORTED, "version_unsupported", 505, "only HTTP/1.1 and HTTP/1.0 are spoken")    \
    X(STATUS_INVALID, "status_invalid", 400, "the status code is malformed")                       \
    X(FIELDS_TOO_LARGE, "fields_too_large", 431, "the header fields are too large in total")       \
    X(TOO_MANY_FIELDS, "too_many_fields", 431, "there are too many header fields")                 \
    X(OBS_FOLD, "obs_fold", 400, "a header line begins with white space")                          \
    X(FIELD_COLON_MISSING, "field_colon_missing", 400, "a header line has no colon")               \
    X(FIELD_NAME_INVALID, "field_name_invalid", 400, "a header name is not a token")               \
    X(FIELD_NAME_UNDERSCORE, "field_name_underscore", 400, "a header name has an underscore")      \
    X(HOST_MISSING, "host_missing", 400, "there is no Host field")                                 \
    X(HOST_REPEATED, "host_repeated", 400, "there are several Host fields")                        \
    X(HOST_INVALID, "host_invalid", 400, "the host or authority is malformed")                     \
    X(HOST_USERINFO, "host_userinfo", 400, "the host or authority contains user information")      \
    X(CONTENT_LENGTH_INVALID, "content_length_invalid", 400, "Content-Length is not a number")     \
    X(CONTENT_LENGTH_REPEATED, "content_length_repeated", 400, "Content-Length is repeated")       \
    X(LENGTH_AND_ENCODING, "length_and_encoding", 400,                                             \
      "both Content-Length and Transfer-Encoding are present")                                     \
    X(TRANSFER_ENCODING_INVALID, "transfer_encoding_invalid", 400,                                 \
      "Transfer-Encoding is malformed")                                                            \
    X(TRANSFER_ENCODING_REPEATED, "transfer_encoding_repeated", 400,                               \
      "Transfer-Encoding is repeated")                                                             \
    X(TRANSFER_ENCODING_LIST, "transfer_encoding_list", 400,                                       \
      "Transfer-Encoding is a list of codings")                                                    \
    X(TRANSFER_ENCODING_IN_HTTP10, "transfer_encoding_in_http10", 400,                             \
      "Transfer-Encoding does not exist in HTTP/1.0")                                              \
    X(TRANSFER_ENCODING_UNSUPPORTED, "transfer_encoding_unsupported", 501,                         \
      "the transfer coding is not chunked")                                                        \
    X(CONNECTION_INVALID, "connection_invalid", 400, "the Connection field is malformed")          \
    X(CONNECTION_PROTECTED, "connection_protected", 400,                                           \
      "the Connection field nominates Host, Content-Length or Transfer-Encoding")                  \
    X(EXPECT_UNSUPPORTED, "expect_unsupported", 417, "the expectation is not 100-continue")        \
    X(FRAMING_FORBIDDEN, "framing_forbidden", 400,                                                 \
      "a response that has no body announces one")                                                 \
    X(UPGRADE_UNASKED, "upgrade_unasked", 400, "the protocol was switched without being asked")    \
    X(BODY_TOO_LARGE, "body_too_large", 413, "the body is too large")                              \
    X(BODY_TRUNCATED, "body_truncated", 400, "the connection was closed inside the body")          \
    X(CHUNK_SIZE_INVALID, "chunk_size_invalid", 400, "a chunk size is malformed")                  \
    X(CHUNK_SIZE_OVERFLOW, "chunk_size_overflow", 400, "a chunk size is out of range")             \
    X(CHUNK_LINE_TOO_LONG, "chunk_line_too_long", 400, "a chunk's first line is too long")         \
    X(CHUNK_LINE_END, "chunk_line_end", 400, "a chunk's first line does not end with CRLF")        \
    X(CHUNK_EXTENSION_INVALID, "chunk_extension_invalid", 400, "a chunk extension is malformed")   \
    X(CHUNK_EXTENSIONS_TOO_LARGE, "chunk_extensions_too_large", 413,                               \
      "the chunk extensions are too large in total")                                               \
    X(CHUNK_DATA_END, "chunk_data_end", 400, "chunk data is not followed by CRLF")                 \
    X(TRAILERS_TOO_LARGE, "trailers_too_large", 431, "the trailer fields are too large in total")  \
    X(TOO_MANY_TRAILERS, "too_many_trailers", 431, "there are too many trailer fields")            \
    X(PATH_INVALID, "path_invalid", 400, "the path is malformed")                                  \
    X(PATH_ESCAPE_INVALID, "path_escape_invalid", 400, "a percent escape is malformed")            \
    X(PATH_NUL, "path_nul", 400, "the path contains %00")                                          \
    X(PATH_OVERLONG, "path_overlong", 400, "the path contains an overlong UTF-8 form")             \
    X(PATH_TRAVERSAL, "path_traversal", 400, "the path climbs above its root or hides dot segments")
/* clang-format on */

#endif
