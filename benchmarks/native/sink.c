/* Accept PUT bodies as fast as one core can: HTTP/1.1, plain or TLS 1.3, one thread, epoll, keep-alive.
 *
 * sink [--cert chain.pem --key key.pem] [--part-size BYTES] [--etag TEXT] [--crc TEXT] [--host ADDRESS] [--samples]
 *      [--cap BYTES] [--slow-every N --slow-cap BYTES] [--limit N]
 *
 * Prints {"port": N} and serves 127.0.0.1 (or --host) until its stdin closes. Every PUT is answered with an ETag: the value of `md5=` in the
 * path, if any (the benchmark computes it beforehand, so that the sink need not hash during the measurement), else that of
 * --etag, else one that is not an MD5; and with a CRC64NVME: the value of `crc=` in the path (base64 for URLs), else that of
 * --crc (base64), else none.
 * With --samples each line on stdin is answered by a line of JSON: the counts since the previous line, and how many bytes
 * had arrived every 20 ms. They include the bytes of refused and of broken requests.
 *
 * Three properties of a service that is not ideal, for `benchmarks.links`: --cap BYTES is the rate at which it reads each
 * connection; --slow-every N and --slow-cap BYTES do so for one connection in N; --limit N is how many PUTs it accepts at a
 * time, any further one is answered with 503 SlowDown and a closed connection, as S3 does.
 *
 * With --part-size it also plays Frame.io, as far as an upload needs it: `local_upload` creates a file, and every other
 * request is answered as if the file had arrived. */
#define _GNU_SOURCE
#include "common.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { RECEIVE = 1 << 20, HEAD = 16 << 10, ANSWER = 1 << 20, READS_A_TURN = 256 };
enum { RECORD = 16 << 10, LINGER = 256 << 10, SLOW_BUFFER = 16 << 10, SLOW_TURN = 3 };

#define PERIOD 0.02   /* seconds between two samples */
#define BUFFERED 0.1  /* seconds of its cap that the kernel buffers for a capped connection */
#define CAP_TURN 0.01 /* seconds for which a capped connection is not read */

struct connection {
    int fd;
    SSL *ssl;           /* NULL: plain */
    long long body;     /* bytes of it that are still to come; -1: the head is being read */
    size_t head_length; /* what of head[] is filled */
    size_t kept;        /* bytes of a POST's body that follow the head in it */
    int keep_alive;
    int counted;        /* a PUT that was accepted and is not answered yet */
    int refused;        /* it was answered with SlowDown; what still arrives is thrown away */
    long long lingered; /* bytes that were thrown away */
    double cap;         /* bytes per second; 0: none */
    double allowance;   /* bytes that may be read now; negative: too many were */
    double filled_at;   /* when the allowance was computed */
    double due;         /* when reading goes on; 0: it was not interrupted */
    struct connection *next, *previous;
    char head[HEAD];
};

struct sample {
    double at;
    long long received;
    int active;
};

static char receive_buffer[RECEIVE], answer_buffer[ANSWER];
static long long api_part_size;
static const char *usual_etag = "not-hashed", *usual_crc = "";
static long created;
static int port;
static SSL_CTX *tls;
static const char *host = "127.0.0.1";
static double usual_cap, slow_cap;
static int slow_every, limit, sampling, poller;
static struct connection *connections;

/* The counts since the previous line on stdin. */
static long long received;
static long accepted, refusals;
static int active, most_active;
static struct sample *samples;
static size_t sample_count, sample_room;

static void drop(struct connection *one)
{
    active -= one->counted;
    if (one->next)
        one->next->previous = one->previous;
    if (one->previous)
        one->previous->next = one->next;
    else
        connections = one->next;
    if (one->ssl)
        SSL_free(one->ssl);
    close(one->fd);
    free(one);
}

/* Answers are small and the socket's buffer is empty, so waiting here is rare. */
static int send_all(struct connection *one, const char *bytes, size_t length)
{
    while (length) {
        int sent = one->ssl ? SSL_write(one->ssl, bytes, (int)length) : (int)send(one->fd, bytes, length, MSG_NOSIGNAL);
        if (sent > 0) {
            bytes += sent;
            length -= (size_t)sent;
            continue;
        }
        int again = one->ssl ? SSL_get_error(one->ssl, sent) == SSL_ERROR_WANT_WRITE : errno == EAGAIN;
        struct pollfd wait = {.fd = one->fd, .events = POLLOUT};
        if (!again || poll(&wait, 1, 5000) != 1)
            return 0;
    }
    return 1;
}

static const char *header(const char *head, const char *name)
{
    const char *found = strcasestr(head, name);
    return found ? found + strlen(name) : NULL;
}

/* Return the value of `name=` in the query of the request line, or of "name": in a JSON body. */
static int copy_value(const char *text, const char *name, char *value, size_t room, const char *ends)
{
    const char *found = strstr(text, name);
    if (!found)
        return 0;
    found += strlen(name);
    size_t length = strcspn(found, ends);
    if (length >= room)
        return 0;
    memcpy(value, found, length);
    value[length] = 0;
    return 1;
}

static size_t describe_file(char *to, size_t room, const char *name, long long size)
{
    size_t length = (size_t)snprintf(
        to, room,
        "{\"data\": {\"id\": \"file-%ld\", \"name\": \"%s\", \"type\": \"file\", \"status\": \"created\", \"file_size\": %lld, "
        "\"media_type\": \"application/octet-stream\", \"parent_id\": \"folder\", \"project_id\": \"project\", "
        "\"created_at\": \"2026-01-01T00:00:00Z\", \"updated_at\": \"2026-01-01T00:00:00Z\", "
        "\"view_url\": \"http://127.0.0.1/file-%ld\", \"upload_urls\": [",
        created, name, size, created);
    for (long long offset = 0, part = 1; offset < size && length + 256 < room; offset += api_part_size, part++) {
        long long left = size - offset;
        length += (size_t)snprintf(to + length, room - length, "%s{\"size\": %lld, \"url\": \"%s://127.0.0.1:%d/file-%ld/%lld\"}",
                                   part > 1 ? ", " : "", left < api_part_size ? left : api_part_size, tls ? "https" : "http", port,
                                   created, part);
    }
    return length + (size_t)snprintf(to + length, room - length, "]}}");
}

static int answer(struct connection *one)
{
    static char json[ANSWER - 1024];
    char etag[64], crc[32], name[512] = "file", size[32] = "0";
    snprintf(etag, sizeof etag, "%s", usual_etag);
    snprintf(crc, sizeof crc, "%s", usual_crc);
    size_t length = 0;
    char *line_end = strstr(one->head, "\r\n");
    if (!strncmp(one->head, "PUT ", 4)) {
        *line_end = 0;
        copy_value(one->head, "md5=", etag, sizeof etag, "/? ");
        copy_value(one->head, "crc=", crc, sizeof crc, "/? ");
        for (char *at = crc; *at; at++)
            *at = *at == '-' ? '+' : *at == '_' ? '/' : *at;
    } else if (!strncmp(one->head, "POST ", 5)) {
        created++;
        if (!copy_value(one->head, "\"name\":\"", name, sizeof name, "\""))
            copy_value(one->head, "\"name\": \"", name, sizeof name, "\"");
        copy_value(one->head, "\"file_size\":", size, sizeof size, ",}");
        length = describe_file(json, sizeof json, name, atoll(size));
    } else {
        length = (size_t)snprintf(json, sizeof json,
                                  "{\"data\": {\"id\": \"file\", \"upload_complete\": true, \"upload_failed\": false, "
                                  "\"upload_started_at\": \"2026-01-01T00:00:00Z\", \"upload_completed_at\": \"2026-01-01T00:00:00Z\", "
                                  "\"media_type\": \"application/octet-stream\"}}");
    }
    size_t total = (size_t)snprintf(answer_buffer, sizeof answer_buffer,
                                    "HTTP/1.1 %s\r\nETag: \"%s\"\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s%s%s%s\r\n",
                                    !strncmp(one->head, "POST", 4) ? "201 Created" : "200 OK", etag, length,
                                    *crc ? "x-amz-checksum-type: FULL_OBJECT\r\nx-amz-checksum-crc64nvme: " : "", crc, *crc ? "\r\n" : "",
                                    one->keep_alive ? "" : "Connection: close\r\n");
    memcpy(answer_buffer + total, json, length);
    one->head_length = one->kept = 0;
    one->body = -1;
    active -= one->counted;
    one->counted = 0;
    return send_all(one, answer_buffer, total + length) && one->keep_alive;
}

static int refuse(struct connection *one)
{
    static const char body[] = "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>SlowDown</Code>"
                               "<Message>Please reduce your request rate.</Message></Error>";
    char text[512];
    refusals++;
    one->refused = 1;
    int length = snprintf(text, sizeof text,
                          "HTTP/1.1 503 Slow Down\r\nServer: AmazonS3\r\nx-amz-request-id: 0000000000000000\r\nContent-Type: application/xml\r\n"
                          "Content-Length: %zu\r\nConnection: close\r\n\r\n%s",
                          sizeof body - 1, body);
    return send_all(one, text, (size_t)length);
}

/* The head is complete: find out how many bytes of body follow. */
static int begin_body(struct connection *one)
{
    const char *length = header(one->head, "\r\ncontent-length:"), *connection = header(one->head, "\r\nconnection:");
    if (header(one->head, "\r\ntransfer-encoding:")) {
        send_all(one, "HTTP/1.1 411 Length Required\r\nContent-Length: 0\r\n\r\n", 51);
        return 0;
    }
    one->keep_alive = !(connection && !strncasecmp(connection + strspn(connection, " "), "close", 5));
    one->body = length ? atoll(length) : 0;
    if (!strncmp(one->head, "PUT ", 4)) {
        if (limit && active >= limit)
            return refuse(one);
        one->counted = 1;
        if (++active > most_active)
            most_active = active;
    }
    if (header(one->head, "\r\nexpect:"))
        return send_all(one, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    return 1;
}

/* Process what has arrived; return 0 to end the connection. */
static int take(struct connection *one, const char *bytes, size_t length)
{
    while (length || (one->body == 0 && !one->refused)) {
        if (one->refused) { /* so that the client can read the answer before the connection breaks */
            received += (long long)length;
            one->lingered += (long long)length;
            return one->lingered <= LINGER;
        }
        if (one->body < 0) {
            size_t before = one->head_length, room = HEAD - 1 - before, copied = length < room ? length : room;
            memcpy(one->head + before, bytes, copied);
            one->head[before + copied] = 0;
            char *end = strstr(one->head + (before > 3 ? before - 3 : 0), "\r\n\r\n");
            if (!end) {
                one->head_length += copied;
                return one->head_length < HEAD - 1;
            }
            one->head_length = (size_t)(end + 4 - one->head);
            one->head[one->head_length] = 0;
            bytes += one->head_length - before;
            length -= one->head_length - before;
            if (!begin_body(one))
                return 0;
            if (one->refused)
                continue;
        }
        size_t part = (long long)length < one->body ? length : (size_t)one->body;
        if (part && one->head[1] == 'O') { /* a POST's body is JSON that is looked into */
            size_t room = HEAD - 1 - one->head_length - one->kept, copied = part < room ? part : room;
            memcpy(one->head + one->head_length + one->kept, bytes, copied);
            one->kept += copied;
            one->head[one->head_length + one->kept] = 0;
        }
        one->body -= (long long)part;
        received += (long long)part;
        bytes += part;
        length -= part;
        if (one->body == 0 && !answer(one))
            return 0;
    }
    return 1;
}

/* Return whether the connection may be read now; if not, it is read again when it is due. */
static int may_read(struct connection *one)
{
    if (!one->cap)
        return 1;
    double now = now_seconds(), most = one->cap * 2 * CAP_TURN;
    one->allowance += (now - one->filled_at) * one->cap;
    one->filled_at = now;
    if (one->allowance > most)
        one->allowance = most;
    if (one->allowance > 0)
        return 1;
    one->due = now - one->allowance / one->cap + CAP_TURN;
    struct epoll_event event = {.events = 0, .data.ptr = one};
    epoll_ctl(poller, EPOLL_CTL_MOD, one->fd, &event);
    return 0;
}

static int receive_tls(struct connection *one)
{
    for (int reads = 0; reads < READS_A_TURN || SSL_has_pending(one->ssl); reads++) {
        if (!may_read(one))
            return 1;
        int got = SSL_read(one->ssl, receive_buffer, one->cap ? RECORD : RECEIVE);
        if (got <= 0) {
            int why = SSL_get_error(one->ssl, got);
            ERR_clear_error();
            return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
        }
        one->allowance -= got;
        if (!take(one, receive_buffer, (size_t)got))
            return 0;
    }
    return 1;
}

static int receive(struct connection *one)
{
    if (one->ssl)
        return receive_tls(one);
    if (!may_read(one))
        return 1;
    ssize_t got = recv(one->fd, receive_buffer, one->cap ? RECORD : RECEIVE, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    one->allowance -= got;
    return take(one, receive_buffer, (size_t)got);
}

/* Read the connections that were not read because of their cap; return the milliseconds until the next one is due. */
static int resume_capped(void)
{
    double now = now_seconds(), first = 0;
    for (struct connection *one = connections, *next; one; one = next) {
        next = one->next;
        if (!one->due)
            continue;
        if (one->due <= now) {
            one->due = 0;
            struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
            epoll_ctl(poller, EPOLL_CTL_MOD, one->fd, &event);
            /* OpenSSL may hold bytes that epoll does not know of. */
            if (!receive(one)) {
                drop(one);
                continue;
            }
        }
        if (one->due && (!first || one->due < first))
            first = one->due;
    }
    return first ? (int)((first - now) * 1000) + 1 : -1;
}

/* Remember how much has arrived; return the milliseconds until the next sample. */
static int sample(void)
{
    static double due;
    double now = now_seconds();
    if (now >= due) {
        if (sample_count == sample_room) {
            sample_room = sample_room ? sample_room * 2 : 4096;
            samples = realloc(samples, sample_room * sizeof *samples);
        }
        samples[sample_count++] = (struct sample){now, received, active};
        due = now + PERIOD;
    }
    return (int)((due - now) * 1000) + 1;
}

/* Answer a line on stdin; return 0 when it ends. */
static int tell(void)
{
    char line[64];
    if (read(0, line, sizeof line) <= 0)
        return 0;
    printf("{\"received\": %lld, \"connections\": %ld, \"refusals\": %ld, \"most_active\": %d, \"samples\": [", received, accepted,
           refusals, most_active);
    for (size_t index = 0; index < sample_count; index++)
        printf("%s[%.6f, %lld, %d]", index ? ", " : "", samples[index].at, samples[index].received, samples[index].active);
    printf("]}\n");
    fflush(stdout);
    received = 0;
    accepted = refusals = 0;
    most_active = active;
    sample_count = 0;
    return 1;
}

static void accept_all(int listener)
{
    static long made;
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        int yes = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct connection *one = calloc(1, sizeof *one);
        one->fd = fd;
        one->body = -1;
        accepted++;
        int slow = slow_every && made++ % slow_every == SLOW_TURN % slow_every;
        one->cap = slow ? slow_cap : usual_cap;
        one->filled_at = now_seconds();
        if (one->cap) { /* or the kernel would take the first megabytes at full speed */
            int size = one->cap * BUFFERED > SLOW_BUFFER ? (int)(one->cap * BUFFERED) : SLOW_BUFFER;
            setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
        }
        one->next = connections;
        if (connections)
            connections->previous = one;
        connections = one;
        if (tls) {
            one->ssl = SSL_new(tls);
            if (one->cap) {
                SSL_set_read_ahead(one->ssl, 0);
                SSL_set_default_read_buffer_len(one->ssl, RECORD);
            }
            SSL_set_fd(one->ssl, fd);
            SSL_set_accept_state(one->ssl);
        }
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
        epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event);
    }
}

static SSL_CTX *open_tls(const char *certificate, const char *key)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_ciphersuites(context, "TLS_AES_128_GCM_SHA256");
    SSL_CTX_set_read_ahead(context, 1);
    SSL_CTX_set_default_read_buffer_len(context, 256 << 10);
    if (SSL_CTX_use_certificate_chain_file(context, certificate) != 1 || SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        die("cannot use the certificate %s", certificate);
    return context;
}

static int listen_somewhere(void)
{
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t length = sizeof address;
    if (inet_pton(AF_INET, host, &address.sin_addr) != 1)
        die("%s is no IPv4 address", host);
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 512) ||
        getsockname(listener, (struct sockaddr *)&address, &length))
        die("cannot listen: %s", strerror(errno));
    port = ntohs(address.sin_port);
    return listener;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"cert", 1, 0, 'c'}, {"key", 1, 0, 'k'}, {"part-size", 1, 0, 'p'}, {"etag", 1, 0, 'e'},
                                          {"crc", 1, 0, 'r'}, {"host", 1, 0, 'h'}, {"samples", 0, 0, 's'}, {"cap", 1, 0, 'b'},
                                          {"slow-every", 1, 0, 'n'}, {"slow-cap", 1, 0, 'w'}, {"limit", 1, 0, 'l'}, {0, 0, 0, 0}};
    const char *certificate = NULL, *key = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'c': certificate = optarg; break;
        case 'k': key = optarg; break;
        case 'p': api_part_size = atoll(optarg); break;
        case 'e': usual_etag = optarg; break;
        case 'r': usual_crc = optarg; break;
        case 'h': host = optarg; break;
        case 's': sampling = 1; break;
        case 'b': usual_cap = atof(optarg); break;
        case 'n': slow_every = atoi(optarg); break;
        case 'w': slow_cap = atof(optarg); break;
        case 'l': limit = atoi(optarg); break;
        default: return 2;
        }
    signal(SIGPIPE, SIG_IGN);
    if (certificate)
        tls = open_tls(certificate, key);
    int listener = listen_somewhere();
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener}, events[64];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = NULL; /* stdin: whoever started this is gone */
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event);
    printf("{\"port\": %d}\n", port);
    fflush(stdout);
    for (int wait = -1;;) {
        int ready = epoll_wait(poller, events, 64, wait);
        for (int index = 0; index < ready; index++) {
            if (!events[index].data.ptr) {
                if (!sampling || !tell())
                    return 0;
            } else if (events[index].data.ptr == &listener)
                accept_all(listener);
            else {
                struct connection *one = events[index].data.ptr;
                /* An error wakes also for a connection that is not to be read yet. */
                int broken = one->due && events[index].events & (EPOLLERR | EPOLLHUP);
                if (broken || !receive(one))
                    drop(one);
            }
        }
        wait = slow_every || usual_cap > 0 ? resume_capped() : -1;
        int next = sampling ? sample() : -1;
        if (next >= 0 && (wait < 0 || next < wait))
            wait = next;
    }
}
