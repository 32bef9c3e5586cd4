/* The least that sending a file's slices can cost: read + send, or OpenSSL through a buffering BIO; one thread, epoll, N connections.
 *
 * floor --port P --file F --size S --part-size S --in-flight N [--ca ca.pem] */
#define _GNU_SOURCE
#include "common.h"

#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

enum { BLOCK = 256 << 10 };

struct connection {
    int fd;
    SSL *ssl;
    BIO *buffer;             /* between TLS and the socket */
    long long offset, left;  /* of the slice that is still to be read */
    size_t filled, done;     /* of block[] */
    int flushing, answering; /* all of it is written; all of it is sent */
    char *block;
};

static struct job job;
static int source, next_part, answered, poller;

static int connect_to(void)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    if (getaddrinfo(job.host, job.port, &hints, &found))
        die("cannot resolve %s", job.host);
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1;
    if (connect(fd, found->ai_addr, found->ai_addrlen))
        die("cannot connect: %s", strerror(errno));
    freeaddrinfo(found);
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    return fd;
}

static SSL_CTX *open_tls(void)
{
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    if (SSL_CTX_load_verify_locations(context, job.ca, NULL) != 1)
        die("cannot use %s", job.ca);
    return context;
}

static void shake_hands(struct connection *one, SSL_CTX *context)
{
    one->ssl = SSL_new(context);
    BIO *socket_bio = BIO_new_socket(one->fd, BIO_NOCLOSE);
    one->buffer = BIO_new(BIO_f_buffer());
    BIO_set_write_buffer_size(one->buffer, BLOCK);
    BIO_push(one->buffer, socket_bio);
    BIO_up_ref(socket_bio);
    SSL_set0_rbio(one->ssl, socket_bio);
    SSL_set0_wbio(one->ssl, one->buffer);
    SSL_set_mode(one->ssl, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    if (SSL_connect(one->ssl) != 1)
        die("no TLS: %s", ERR_reason_error_string(ERR_get_error()));
    BIO_flush(one->buffer);
}

/* Write the head of the next part into the block; its bytes follow. Return 0 if there is no next part. */
static int begin_part(struct connection *one)
{
    if (next_part == job.parts)
        return 0;
    int part = next_part++;
    one->offset = (long long)part * job.part_size;
    one->left = part_length(&job, part);
    one->filled = (size_t)snprintf(one->block, BLOCK,
                                   "PUT /part/%d HTTP/1.1\r\nHost: %s\r\nContent-Type: " CONTENT_TYPE
                                   "\r\nx-amz-acl: private\r\nContent-Length: %lld\r\n\r\n",
                                   part + 1, job.host, one->left);
    one->done = 0;
    one->flushing = one->answering = 0;
    struct epoll_event event = {.events = EPOLLOUT, .data.ptr = one};
    epoll_ctl(poller, EPOLL_CTL_MOD, one->fd, &event);
    return 1;
}

static void fill(struct connection *one)
{
    size_t wanted = one->left < BLOCK ? (size_t)one->left : BLOCK;
    ssize_t got = pread(source, one->block, wanted, one->offset);
    if (got <= 0)
        die("cannot read: %s", got ? strerror(errno) : "too short");
    one->offset += got;
    one->left -= got;
    one->filled = (size_t)got;
    one->done = 0;
}

/* Return the number of bytes that were accepted; 0 if the caller has to try again later. */
static size_t push(struct connection *one)
{
    const char *from = one->block + one->done;
    size_t length = one->filled - one->done;
    if (!one->ssl) {
        ssize_t sent = send(one->fd, from, length, MSG_NOSIGNAL);
        if (sent < 0 && errno != EAGAIN)
            die("cannot send: %s", strerror(errno));
        return sent < 0 ? 0 : (size_t)sent;
    }
    int sent = SSL_write(one->ssl, from, (int)length);
    if (sent <= 0 && SSL_get_error(one->ssl, sent) != SSL_ERROR_WANT_WRITE)
        die("cannot send over TLS: %s", ERR_reason_error_string(ERR_get_error()));
    return sent <= 0 ? 0 : (size_t)sent;
}

/* Send at most one block, so that all connections progress. */
static void send_some(struct connection *one)
{
    if (one->done == one->filled && one->left)
        fill(one);
    while (one->done < one->filled) {
        size_t sent = push(one);
        if (!sent)
            return;
        one->done += sent;
    }
    if (one->left)
        return;
    if (one->ssl && BIO_flush(one->buffer) <= 0) {
        one->flushing = 1;
        return;
    }
    one->flushing = 0;
    one->answering = 1;
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = one};
    epoll_ctl(poller, EPOLL_CTL_MOD, one->fd, &event);
}

static void read_answer(struct connection *one)
{
    char text[4096];
    int got = one->ssl ? SSL_read(one->ssl, text, sizeof text - 1) : (int)recv(one->fd, text, sizeof text - 1, 0);
    if (got <= 0) {
        if (one->ssl ? SSL_get_error(one->ssl, got) == SSL_ERROR_WANT_READ : errno == EAGAIN && got < 0)
            return;
        die("no answer");
    }
    text[got] = 0;
    if (strncmp(text, "HTTP/1.1 200", 12) || !strstr(text, "\r\n\r\n"))
        die("refused: %s", text);
    answered++;
    if (!begin_part(one))
        epoll_ctl(poller, EPOLL_CTL_DEL, one->fd, NULL);
}

int main(int argc, char **argv)
{
    job = read_job(argc, argv);
    signal(SIGPIPE, SIG_IGN);
    source = open(job.file, O_RDONLY | O_CLOEXEC);
    if (source < 0)
        die("cannot open %s: %s", job.file, strerror(errno));
    SSL_CTX *context = job.ca ? open_tls() : NULL;
    poller = epoll_create1(EPOLL_CLOEXEC);
    struct connection *all = calloc((size_t)job.in_flight, sizeof *all);
    struct meter began = start_meter();
    for (int index = 0; index < job.in_flight; index++) {
        struct connection *one = &all[index];
        one->block = malloc(BLOCK);
        one->fd = connect_to();
        if (context)
            shake_hands(one, context);
        fcntl(one->fd, F_SETFL, fcntl(one->fd, F_GETFL) | O_NONBLOCK);
        struct epoll_event event = {.events = EPOLLOUT, .data.ptr = one};
        epoll_ctl(poller, EPOLL_CTL_ADD, one->fd, &event);
        begin_part(one);
    }
    struct epoll_event events[64];
    while (answered < job.parts) {
        int ready = epoll_wait(poller, events, 64, -1);
        for (int index = 0; index < ready; index++) {
            struct connection *one = events[index].data.ptr;
            if (one->answering)
                read_answer(one);
            else
                send_some(one);
        }
    }
    print_meter(began, job.size);
    return 0;
}
