/* Accept PUT bodies as fast as one core can: HTTP/1.1, plain or TLS 1.3, one thread, epoll, keep-alive.
 *
 * sink [--cert chain.pem --key key.pem] [--part-size BYTES] [--etag TEXT]
 *
 * Prints {"port": N} and serves 127.0.0.1 until its stdin closes. Every PUT is answered with an ETag: the value of `md5=` in the
 * path, if any (the benchmark computes it beforehand, so that the sink need not hash during the measurement), else that of
 * --etag, else one that is not an MD5.
 * With --part-size it also plays Frame.io, as far as an upload needs it: `local_upload` creates a file, and every other
 * request is answered as if the file had arrived. */
#define _GNU_SOURCE
#include "common.h"

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

struct connection {
    int fd;
    SSL *ssl;           /* NULL: plain */
    long long body;     /* bytes of it that are still to come; -1: the head is being read */
    size_t head_length; /* what of head[] is filled */
    size_t kept;        /* bytes of a POST's body that follow the head in it */
    int keep_alive;
    char head[HEAD];
};

static char receive_buffer[RECEIVE], answer_buffer[ANSWER];
static long long api_part_size;
static const char *usual_etag = "not-hashed";
static long created;
static int port;
static SSL_CTX *tls;

static void drop(struct connection *one)
{
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
    char etag[64], name[512] = "file", size[32] = "0";
    snprintf(etag, sizeof etag, "%s", usual_etag);
    size_t length = 0;
    char *line_end = strstr(one->head, "\r\n");
    if (!strncmp(one->head, "PUT ", 4)) {
        *line_end = 0;
        copy_value(one->head, "md5=", etag, sizeof etag, "/? ");
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
                                    "HTTP/1.1 %s\r\nETag: \"%s\"\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n%s\r\n",
                                    !strncmp(one->head, "POST", 4) ? "201 Created" : "200 OK", etag, length,
                                    one->keep_alive ? "" : "Connection: close\r\n");
    memcpy(answer_buffer + total, json, length);
    one->head_length = one->kept = 0;
    one->body = -1;
    return send_all(one, answer_buffer, total + length) && one->keep_alive;
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
    if (header(one->head, "\r\nexpect:"))
        return send_all(one, "HTTP/1.1 100 Continue\r\n\r\n", 25);
    return 1;
}

/* Process what has arrived; return 0 to end the connection. */
static int take(struct connection *one, const char *bytes, size_t length)
{
    while (length || one->body == 0) {
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
        }
        size_t part = (long long)length < one->body ? length : (size_t)one->body;
        if (part && one->head[1] == 'O') { /* a POST's body is JSON that is looked into */
            size_t room = HEAD - 1 - one->head_length - one->kept, copied = part < room ? part : room;
            memcpy(one->head + one->head_length + one->kept, bytes, copied);
            one->kept += copied;
            one->head[one->head_length + one->kept] = 0;
        }
        one->body -= (long long)part;
        bytes += part;
        length -= part;
        if (one->body == 0 && !answer(one))
            return 0;
    }
    return 1;
}

static int receive_tls(struct connection *one)
{
    for (int reads = 0; reads < READS_A_TURN || SSL_has_pending(one->ssl); reads++) {
        int got = SSL_read(one->ssl, receive_buffer, RECEIVE);
        if (got <= 0) {
            int why = SSL_get_error(one->ssl, got);
            ERR_clear_error();
            return why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE;
        }
        if (!take(one, receive_buffer, (size_t)got))
            return 0;
    }
    return 1;
}

static int receive(struct connection *one)
{
    if (one->ssl)
        return receive_tls(one);
    ssize_t got = recv(one->fd, receive_buffer, RECEIVE, 0);
    if (got <= 0)
        return got < 0 && errno == EAGAIN;
    return take(one, receive_buffer, (size_t)got);
}

static void accept_all(int listener, int poller)
{
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        int yes = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct connection *one = calloc(1, sizeof *one);
        one->fd = fd;
        one->body = -1;
        if (tls) {
            one->ssl = SSL_new(tls);
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
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof address;
    if (bind(listener, (struct sockaddr *)&address, length) || listen(listener, 512) ||
        getsockname(listener, (struct sockaddr *)&address, &length))
        die("cannot listen: %s", strerror(errno));
    port = ntohs(address.sin_port);
    return listener;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"cert", 1, 0, 'c'}, {"key", 1, 0, 'k'}, {"part-size", 1, 0, 'p'}, {"etag", 1, 0, 'e'}, {0, 0, 0, 0}};
    const char *certificate = NULL, *key = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;)
        switch (option) {
        case 'c': certificate = optarg; break;
        case 'k': key = optarg; break;
        case 'p': api_part_size = atoll(optarg); break;
        case 'e': usual_etag = optarg; break;
        default: return 2;
        }
    signal(SIGPIPE, SIG_IGN);
    if (certificate)
        tls = open_tls(certificate, key);
    int listener = listen_somewhere(), poller = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &listener}, events[64];
    epoll_ctl(poller, EPOLL_CTL_ADD, listener, &event);
    event.data.ptr = NULL; /* stdin: whoever started this is gone */
    epoll_ctl(poller, EPOLL_CTL_ADD, 0, &event);
    printf("{\"port\": %d}\n", port);
    fflush(stdout);
    for (;;) {
        int ready = epoll_wait(poller, events, 64, -1);
        for (int index = 0; index < ready; index++) {
            if (!events[index].data.ptr)
                return 0;
            if (events[index].data.ptr == &listener)
                accept_all(listener, poller);
            else if (!receive(events[index].data.ptr))
                drop(events[index].data.ptr);
        }
    }
}
