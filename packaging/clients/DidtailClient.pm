package DidtailClient;

# What the clients of didtail's HTTP API have in common: their settings, the spool in
# which results of calls wait, and the way from there to the API.
#
# A result is a file of its own, JSON as it is posted. It is written under another name,
# synced and renamed, so that it is whole or not there. Its name is its Idempotency-Key
# too: however often it is sent, didtail takes it once. One process at a time sends, the
# one that has the lock; the system frees it however that process ends.
#
# Core modules alone, and Perl 5.16: what a VICIdial server has.

use strict;
use warnings;

use Fcntl qw(:DEFAULT :flock :mode);
use File::Path qw(make_path);
use HTTP::Tiny;
use IO::Handle;
use JSON::PP;
use Sys::Hostname qw(hostname);
use Time::HiRes qw(sleep time);

# Seconds that one step of a request may take: connecting, each read.
our $PATIENCE = 10;

# Seconds until the next try: doubled with each failure, from 1 to the most. What
# Retry-After says is waited for, up to the limit.
my $PAUSE_MAX       = 300;
my $RETRY_AFTER_MAX = 600;

# Seconds until the next try where an operator has to do something first.
my $WRONG_PAUSE = 30;

# Bytes of a body that the API takes, and of an answer that is read.
my $BYTES_MAX = 64 * 1024;

# Characters that the API takes. Of the fields that may be absent one with more is left out.
my %NEEDED_MAX   = (uniqueid => 64, phoneNumber => 40);
my %OPTIONAL_MAX = (callerCode => 64, didUsed => 40, dialStatus => 20);

# Refused results that are kept; the oldest go first.
my $REFUSED_MAX = 10_000;

# Seconds after which a file that was never renamed is of a process that died.
my $UNFINISHED_MAX = 3600;

my $NAME = qr/\A(\d{10}\.\d{6}-[A-Za-z0-9.-]+-\d+-\d+)\.json\z/;

my %DEFAULTS = (
    url             => 'http://127.0.0.1:5000',
    key_file        => '/etc/didtail/client.key',
    ca_file         => '',
    source          => '',
    spool           => '/var/spool/didtail',
    spool_max       => 100_000,
    ami_address     => '127.0.0.1:5038',
    ami_user        => 'didtail',
    ami_secret_file => '/etc/didtail/ami.secret',
    dial_prefix     => '',
);

# The settings, and what is wrong with their file: who has a result to keep goes on with
# those that could be read.
sub settings {
    my $file     = $ENV{DIDTAIL_CLIENT_CONFIG} // '/etc/didtail/client.conf';
    my %settings = %DEFAULTS;
    open my $in, '<', $file
        or return (\%settings, "cannot read $file: $!; DIDTAIL_CLIENT_CONFIG names another file");
    my @wrong;
    while (my $line = <$in>) {
        next if $line =~ /\A\s*(?:#|\z)/;
        my ($name, $value) = $line =~ /\A\s*(\w+)\s*=\s*(.*?)\s*\z/;
        if (!defined $name || !exists $DEFAULTS{$name}) {
            push @wrong, "$file line $.: expected NAME = VALUE with one of " . join ', ', sort keys %DEFAULTS;
            next;
        }
        $settings{$name} = $value;
    }
    if ($settings{spool_max} !~ /\A[1-9]\d{0,6}\z/) {
        push @wrong, "$file: spool_max is a number of files, from 1 to 9999999";
        $settings{spool_max} = $DEFAULTS{spool_max};
    }
    return (\%settings, $wrong[0]);
}

# The same, for who can do nothing with wrong ones.
sub settings_or_die {
    my ($settings, $wrong) = settings();
    die "$wrong\n" if defined $wrong;
    return $settings;
}

# Says what went wrong, to whoever looks: the terminal, cron's mail, the system's log.
# Callers put no phone number and no key into it.
sub complain {
    my ($text) = @_;
    (my $program = $0) =~ s{.*/}{};
    # To a console of Asterisk that is gone nothing can be said.
    eval { print {*STDERR} "$program: $text\n" };
    return if -t STDERR;
    eval {
        require Sys::Syslog;
        Sys::Syslog::openlog($program, 'pid,nofatal', 'user');
        Sys::Syslog::syslog('warning', '%s', $text);
    };
    return;
}

# A secret from a file that not everybody can read.
sub secret {
    my ($file) = @_;
    open my $in, '<', $file or die "cannot read $file: $!\n";
    my $mode = (stat $in)[2];
    die "everybody can read $file: chmod 640 $file\n" if $mode & 0004;
    my $secret = <$in> // '';
    $secret =~ s/\A\s+|\s+\z//g;
    die "$file is empty: it holds the secret in one line\n" if $secret eq '';
    die "$file has more than one word in its first line\n" if $secret =~ /[^\x21-\x7e]/;
    return $secret;
}

# Keeps a result until it is posted. When this returns, a power cut does not take it.
# Dies where it cannot be kept; then the call is known from VICIdial alone.
my $kept = 0;

sub keep {
    my ($settings, $result) = @_;
    my $spool = folder($settings);
    my $text  = JSON::PP->new->canonical->ascii->encode(fitting($result));
    die "$spool is full: $settings->{spool_max} results wait (spool_max), the newest is given up;"
        . " didtail-spool --status says why they wait\n"
        if has($spool, $settings->{spool_max});
    (my $host = hostname()) =~ s/[^A-Za-z0-9.-]/-/g;
    my ($second, $micro) = Time::HiRes::gettimeofday();
    my $name = sprintf '%010d.%06d-%.64s-%d-%d', $second, $micro, $host, $$, ++$kept;
    my $new  = "$spool/.$name.new";
    write_whole($new, $text);
    if (!rename $new, "$spool/$name.json") {
        my $why = $!;
        unlink $new;
        die "cannot write into $spool: $why\n";
    }
    sync_folder($spool);
    return $name;
}

# The result without what the API would refuse all of it for.
sub fitting {
    my ($result) = @_;
    my %fitting = %$result;
    for my $field (grep { defined $fitting{$_} } keys %OPTIONAL_MAX) {
        delete $fitting{$field} unless $fitting{$field} =~ /\A[^\x00-\x1f\x7f]{0,$OPTIONAL_MAX{$field}}\z/;
    }
    for my $field (sort keys %NEEDED_MAX) {
        die "its $field is empty, has more than $NEEDED_MAX{$field} characters or one that is none:"
            . " the dialplan or the event has it so\n"
            unless ($fitting{$field} // '') =~ /\A[^\x00-\x1f\x7f]{1,$NEEDED_MAX{$field}}\z/;
    }
    return \%fitting;
}

# The spool, made where there is none.
sub folder {
    my ($settings) = @_;
    my $spool = $settings->{spool};
    my $errors;
    make_path($spool, { mode => 0700, error => \$errors }) unless lstat $spool;
    return $spool if is_own($spool);
    die "cannot make $spool: " . join('; ', map { values %$_ } @{ $errors || [] }) . "\n";
}

# Whether a folder is there. Dies where somebody else could put links into it, through
# which another file would be written or posted.
sub is_own {
    my ($folder) = @_;
    my (undef, undef, $mode, undef, $owner) = lstat $folder or return 0;
    die "$folder is no folder, or a link to one: set spool to the folder itself\n" unless S_ISDIR($mode);
    if ($owner != $>) {
        my $user = getpwuid($owner) // "#$owner";
        my $self = getpwuid($>)     // "#$>";
        die "$folder belongs to $user, and this is run by $self: run it as Asterisk's user,"
            . " who has the spool (sudo -u $user)\n";
    }
    die "others than its owner can write into $folder: chmod 700 $folder\n" if $mode & (S_IWGRP | S_IWOTH);
    return 1;
}

# Opens a plain file of the spool for reading.
sub open_plain {
    my ($file) = @_;
    # Of a pipe it would wait for a writer.
    sysopen my $in, $file, O_RDONLY | O_NOFOLLOW | O_NONBLOCK or return;
    return -f $in ? $in : undef;
}

# Writes a file that is not there yet.
sub write_whole {
    my ($file, $text) = @_;
    sysopen my $out, $file, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, 0600 or die "cannot write $file: $!\n";
    return if (print {$out} $text) && $out->flush && $out->sync && close $out;
    my $why = $!;
    # Half a file is no result, and takes room on a full disk.
    unlink $file;
    die "cannot write $file: $why\n";
}

# An old Perl cannot sync a folder: there a power cut may take the newest results.
sub sync_folder {
    my ($folder) = @_;
    sysopen my $in, $folder, O_RDONLY | O_NOFOLLOW or return;
    $in->sync;
    return;
}

# The results that wait, in no order; in scalar context how many. What is no plain file
# is none.
sub names {
    my ($folder) = @_;
    my @names;
    if (opendir my $in, $folder) {
        @names = grep { lstat "$folder/$_.json" and -f _ } map { /$NAME/ ? $1 : () } readdir $in;
    }
    return @names;
}

# Whether so many wait. Each call that ends asks: no file is looked at.
sub has {
    my ($folder, $count) = @_;
    opendir my $in, $folder or return 0;
    while (defined(my $file = readdir $in)) {
        return 1 if substr($file, -5) eq '.json' && --$count <= 0;
    }
    return 0;
}

# Posts what waits, the oldest first, for so many seconds; or now, without a pause before
# the first try and without a second one. Returns how that ended and what there is to say
# of it:
#   done    nothing waits any more, or another process is posting it
#   later   the API is away or busy; all is kept
#   wrong   it will not go until somebody does something; all is kept
sub deliver {
    my ($settings, $seconds, $is_now) = @_;
    my $end   = time + $seconds;
    my $spool = folder($settings);
    my $lock  = lock_of($spool) or return ('done', "another process is posting from $spool");
    remove_unfinished($spool);
    unlink "$spool/later" if $is_now;
    my $http = http($settings);
    # While the API is away each call that ends gets here: many names are not read for that.
    my ($due, undef, $trouble) = later($spool);
    return ('later', $trouble) if $due > $end;
    while (my @names = sort { $a cmp $b } names($spool)) {
        for my $name (@names) {
            return ('later', 'more wait than the time is enough for') if time >= $end;
            my ($at, $failures, $why) = later($spool);
            return ('later', $why) if $at > $end;
            sleep $at - time if $at > time;
            my ($outcome, $said, $pause) = post($settings, $http, $name);
            if ($outcome eq 'wrong') {
                set_later($spool, $WRONG_PAUSE, $failures, $said);
                return ($outcome, $said);
            }
            if ($outcome eq 'later') {
                $pause = pause($failures) unless defined $pause;
                set_later($spool, $pause, $failures + 1, $said);
                return ($outcome, $said) if $is_now;
                redo;
            }
            if ($outcome eq 'refused') {
                refuse($spool, $name, $said);
                complain("a result was refused and is in $spool/refused: $name");
            }
            unlink "$spool/$name.json", "$spool/later";
        }
    }
    return ('done', 'nothing waits');
}

# What asks the API. The key goes to no other address, whatever an answer says.
sub http {
    my ($settings) = @_;
    # Without one: what the system trusts.
    my @authority = $settings->{ca_file} ? (SSL_options => { SSL_ca_file => $settings->{ca_file} }) : ();
    return HTTP::Tiny->new(
        @authority,
        timeout      => $PATIENCE,
        max_size     => $BYTES_MAX,
        max_redirect => 0,
        verify_SSL   => 1,
        agent        => 'didtail-client',
    );
}

sub pause {
    my ($failures) = @_;
    my $pause = 2**($failures < 20 ? $failures : 20);
    return $pause < $PAUSE_MAX ? $pause : $PAUSE_MAX;
}

# The lock on a spool, for as long as the value lives. It names who has it.
sub lock_of {
    my ($spool) = @_;
    sysopen my $lock, "$spool/lock", O_RDWR | O_CREAT | O_NOFOLLOW, 0600
        or die "cannot write $spool/lock: $!\n";
    die "$spool/lock is no plain file: remove it\n" unless -f $lock;
    flock $lock, LOCK_EX | LOCK_NB or return;
    # On a full disk it has no name.
    truncate $lock, 0 and syswrite $lock, "$$\n";
    return $lock;
}

sub remove_unfinished {
    my ($spool) = @_;
    opendir my $in, $spool or return;
    for my $file (grep { /\A\..*\.new\z/ } readdir $in) {
        my $changed = (lstat "$spool/$file")[9] // time;
        unlink "$spool/$file" if $changed < time - $UNFINISHED_MAX;
    }
    return;
}

# When the next try is due, the failures so far, and the last one's words.
sub later {
    my ($spool) = @_;
    my $in = open_plain("$spool/later") or return (0, 0, '');
    my ($at, $failures, $why) = (<$in> // '') =~ /\A(\d+) (\d+) (.*)/;
    return (0, 0, '') unless defined $at;
    # A clock that was set back is not waited for.
    $at = 0 if $at > time + $RETRY_AFTER_MAX;
    return ($at, $failures, $why);
}

sub set_later {
    my ($spool, $pause, $failures, $why) = @_;
    $why =~ s/\s+/ /g;
    my $new = "$spool/.later-$$.new";
    # Of a process that had this one's number.
    unlink $new;
    # On a full disk the next try is only sooner.
    eval {
        write_whole($new, sprintf "%d %d %s\n", time + $pause + 0.999, $failures, $why);
        rename $new, "$spool/later" or unlink $new;
    };
    return;
}

# Posts one result. Returns what became of it, what there is to say, and the seconds to
# wait where the API named them.
sub post {
    my ($settings, $http, $name) = @_;
    my $body = do {
        my $in = open_plain("$settings->{spool}/$name.json")
            or return ('wrong', "cannot read $settings->{spool}/$name.json: $!");
        local $/ = \($BYTES_MAX + 1);
        <$in> // '';
    };
    my $path = '/api/v1/call-results';
    $path .= '?source=' . escaped($settings->{source}) if $settings->{source} ne '';
    my ($answer, $document) = request($settings, $http, 'POST', $path, $body, $name);
    return ('wrong', $document) unless defined $answer;
    my ($status, $message) = ($answer->{status}, $document->{message} // '');
    my $is_api = exists $document->{success};
    return ('taken') if $status == 200 && $document->{success};
    if ($status == 429 || $status == 503) {
        my $after = $answer->{headers}{'retry-after'} // '';
        my ($pause) = $after =~ /\A(\d{1,9})\z/;
        $pause = $RETRY_AFTER_MAX if defined $pause && $pause > $RETRY_AFTER_MAX;
        return ('later', "$settings->{url} answers $status: $message", $pause);
    }
    # Of an address that answers something else nothing is believed.
    return ('later', "$settings->{url}: " . first_line($answer->{content})) if $status == 599;
    return ('later', "$settings->{url} answers $status") if $status >= 500;
    return ('wrong', "$settings->{url} does not know the key in $settings->{key_file} ($status):"
            . " didtail api-key create makes one")
        if $is_api && $status == 401;
    return ('wrong', "source in the configuration: $document->{errors}{source}")
        if $is_api && ref $document->{errors} eq 'HASH' && exists $document->{errors}{source};
    my $is_refused = $status == 400 || $status == 413 || $status == 422
        || ($status == 404 && $message eq 'DID not found');
    return ('refused', $answer->{content}) if $is_api && $is_refused;
    return ('wrong', "$settings->{url} " . foreign($status));
}

# Any text as a value of a URL.
sub escaped {
    my ($text) = @_;
    $text =~ s/([^A-Za-z0-9._~-])/sprintf '%%%02X', ord $1/ge;
    return $text;
}

# What to do about an answer that is not didtail's.
sub foreign {
    my ($status) = @_;
    return "answers $status and sends to another address, which is not followed:"
        . ' set url to the address of didtail itself'
        if $status =~ /\A3/;
    return "answers $status, and not as didtail does: is url right?";
}

# An answer, and its JSON; without the key nothing but what is wrong with it.
sub request {
    my ($settings, $http, $method, $path, $body, $once) = @_;
    my $key = eval { secret($settings->{key_file}) };
    if (!defined $key) {
        chomp(my $why = $@);
        return (undef, "no key: $why");
    }
    my %headers = ('x-api-key' => $key, 'content-type' => 'application/json');
    $headers{'idempotency-key'} = $once if defined $once;
    (my $url = $settings->{url}) =~ s{/+\z}{};
    my $answer = eval { $http->request($method, "$url$path", { headers => \%headers, content => $body // '' }) };
    if (!defined $answer) {
        chomp(my $why = $@);
        return (undef, "url in the configuration: $why");
    }
    my $document = eval { JSON::PP->new->utf8->decode($answer->{content}) };
    return ($answer, ref $document eq 'HASH' ? $document : {});
}

sub first_line {
    my ($text) = @_;
    my ($line) = ($text // '') =~ /\A\s*([^\n]{0,200})/;
    return $line;
}

# Puts a result aside with the answer that it got.
sub refuse {
    my ($spool, $name, $answer) = @_;
    my $refused = "$spool/refused";
    mkdir $refused, 0700;
    is_own($refused) or die "cannot make $refused: $!\n";
    # One who died here before may have left it.
    unlink "$refused/$name.answer";
    write_whole("$refused/$name.answer", $answer);
    rename "$spool/$name.json", "$refused/$name.json" or die "cannot write into $refused: $!\n";
    my @kept = sort { $a cmp $b } names($refused);
    for my $old (splice @kept, 0, @kept > $REFUSED_MAX ? @kept - $REFUSED_MAX : 0) {
        unlink "$refused/$old.json", "$refused/$old.answer";
    }
    return;
}

# Puts what was refused back to what waits, e.g. once its DID is known. Returns how many.
sub again {
    my ($settings) = @_;
    my $spool = folder($settings);
    my $moved = 0;
    return $moved unless is_own("$spool/refused");
    for my $name (names("$spool/refused")) {
        next unless rename "$spool/refused/$name.json", "$spool/$name.json";
        unlink "$spool/refused/$name.answer";
        $moved++;
    }
    return $moved;
}

# Asks the API whether it is there and knows the key. Returns as `deliver` does.
sub check {
    my ($settings) = @_;
    my ($answer, $document) = request($settings, http($settings), 'GET', '/api/v1/dids?limit=1');
    return ('wrong', $document) unless defined $answer;
    my $status = $answer->{status};
    return ('done', "$settings->{url} answers and knows the key") if $status == 200 && $document->{success};
    return ('later', "$settings->{url}: " . first_line($answer->{content})) if $status == 599;
    return ('wrong', "$settings->{url} answers $status: $document->{message}") if defined $document->{message};
    return ('wrong', "$settings->{url} " . foreign($status));
}

1;
