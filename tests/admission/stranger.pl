#!/usr/bin/perl
# A stranger's detector: written from docs/worker_protocol.md and docs/face_pack.md alone, with nothing but what Debian's perl-base holds.
# It calls sharp faces real: how much neighbouring pixels differ. An exercise, of no use against manipulations.
#
# perl stranger.pl [EXCHANGE]      EXCHANGE is /exchange where it is not given
use strict;
use warnings;
use IO::Socket::UNIX;

my $CARD = join '', <DATA>;
$CARD =~ s/\s*\n\s*/ /g;
my ($ID, $VERSION) = $CARD =~ /"id": "(\w+)", "version": "([\w.]+)"/;
my ($MARGIN)       = $CARD =~ /"margin": ([\d.]+)/;
my ($THRESHOLD)    = $CARD =~ /"threshold": ([\d.]+)/;
my $SMALLEST = 8;      # pixels a side: below that there is nothing to compare
my $MASK     = 1024;

$SIG{PIPE} = 'IGNORE';
chdir($ARGV[0] // '/exchange') or die "no exchange folder: $!";
unlink 'worker.sock', 'worker.sock.tmp';
my $listener = IO::Socket::UNIX->new(Type => SOCK_STREAM(), Local => 'worker.sock.tmp', Listen => 4) or die "no socket: $!";
chmod 0777, 'worker.sock.tmp';
rename 'worker.sock.tmp', 'worker.sock' or die "no socket: $!";

while (my $caller = $listener->accept) {
    $caller->autoflush(1);
    while (my $line = <$caller>) {
        my $verb = $line =~ /^\s*\{.*\}\s*$/ && $line =~ /"verb": *"(\w+)"/ ? $1 : '';
        my $answer = eval { answer($verb, $line, $caller) };
        if (!defined $answer) {
            print STDERR $@;
            $answer = error('detector_failed');
        }
        print $caller "$answer\n";
        exit 0 if $verb eq 'stop';
    }
}

sub error { return qq({"status": "error", "code": "$_[0]", "retryable": false}) }
sub not_applicable { return qq({"status": "not_applicable", "reason": "$_[0]"}) }

sub answer {
    my ($verb, $line, $caller) = @_;
    return qq({"status": "ok", "protocol": 1, "verbs": ["describe", "load", "predict"], "peak_mb": ${\peak_mb()}}) if $verb eq 'health';
    return qq({"status": "ok", "card": $CARD}) if $verb eq 'describe';
    return '{"status": "ok"}' if $verb eq 'load' || $verb eq 'stop';
    return predict($line, $caller) if $verb eq 'predict';
    return error($verb ? 'unknown_verb' : 'bad_request');
}

sub peak_mb {
    open my $status, '<', '/proc/self/status' or return 0;
    my ($kb) = map { /^VmHWM:\s+(\d+)/ } <$status>;
    return $kb / 1000;
}

sub predict {
    my ($line, $caller) = @_;
    my ($pack) = $line =~ /"pack": *"([\w.\/-]+)"/;
    my ($out)  = $line =~ /"out": *"([\w.\/-]+)"/;
    return error('bad_request') unless defined $pack && defined $out;

    my @faces = faces("$pack/faces.npy");
    return not_applicable('no_face') unless @faces;
    open my $crops, '<:raw', "$pack/crops.bin" or die "no crops: $!";
    my (@index, @score, %person, @masks);
    my $skipped = 0;
    for my $row (0 .. $#faces) {
        my $face  = $faces[$row];
        my @lines = differences($crops, $face);
        if (!@lines) { $skipped++; next }
        my ($sum, $count) = (0, 0);
        for (@lines) { $sum += $_ for @$_; $count += @$_ }
        my $mean  = $sum / $count;
        my $score = sprintf '%.9f', 1 - $mean / ($mean + 4);
        push @masks, mask($out, $row, \@lines) if !$person{$face->{person}} && @lines <= $MASK && @{$lines[0]} <= $MASK;
        push @{$person{$face->{person}}}, $score;
        push @index, $row;
        push @score, $score;
        print $caller sprintf(qq({"event": "progress", "done": %d, "total": %d}\n), $row + 1, scalar @faces) if $row % 50 == 0;
    }
    return not_applicable('face_too_small') unless @index;

    my @persons = map {
        my @own = @{$person{$_}};
        my $mean = 0;
        $mean += $_ / @own for @own;
        sprintf '{"person": %d, "faces": %d, "fake_score": %.9f, "hard_label": "%s"}', $_, scalar @own, $mean,
            $mean >= $THRESHOLD ? 'fake' : 'real';
    } sort { $a <=> $b } keys %person;
    open my $file, '>', "$out/scores.json" or die "cannot write: $!";
    printf $file '{"schema": 3, "unit": "face", "contract": "1", "detector": "%s", "version": "%s", "index": [%s], "fake_score": [%s], '
        . '"video_fake_score": null, "persons": [%s], "skipped": {%s}, "masks": [%s]}',
        $ID, $VERSION, join(', ', @index), join(', ', @score), join(', ', @persons),
        $skipped ? qq("face_too_small": $skipped) : '', join(', ', @masks);
    close $file or die "cannot write: $!";
    return '{"status": "ok"}';
}

# The rows of faces.npy that matter here.
sub faces {
    my ($path) = @_;
    open my $file, '<:raw', $path or die "no faces: $!";
    my ($start, $header) = ('', '');
    read $file, $start, 10;
    substr($start, 0, 8) eq "\x93NUMPY\x01\x00" or die 'faces.npy has another format';
    read $file, $header, unpack 'v', substr $start, 8;
    my ($count) = $header =~ /'shape': \((\d+),\)/ or die 'faces.npy has another shape';
    my @faces;
    for (1 .. $count) {
        my $row;
        read($file, $row, 107) == 107 or die 'faces.npy ends early';
        my ($person, @box) = unpack 'x16 l< f<4', $row;
        my ($offset, $height, $width, $left, $top, $turn) = unpack 'x80 q< l<4 x s<', $row;
        my ($x1, $y1, $x2, $y2) = ($box[0] - $left, $box[1] - $top, $box[2] - $left, $box[3] - $top);
        for (my $quarters = $turn / 90; $quarters > 0; $quarters--) {
            my $high = $quarters % 2 ? $width : $height;
            ($x1, $y1, $x2, $y2) = ($high - $y2, $x1, $high - $y1, $x2);
        }
        push @faces, {
            person => $person, offset => $offset, height => $height, width => $width, box => [$x1, $y1, $x2, $y2],
        };
    }
    return @faces;
}

# For every fourth line of the face's square, how much the green of each pixel differs from that of the next one; nothing where the
# square is too small.
sub differences {
    my ($crops, $face) = @_;
    my ($x1, $y1, $x2, $y2) = @{$face->{box}};
    my $side = ($x2 - $x1 > $y2 - $y1 ? $x2 - $x1 : $y2 - $y1) * $MARGIN;
    my ($left, $right)  = within(($x1 + $x2) / 2, $side, $face->{width});
    my ($top,  $bottom) = within(($y1 + $y2) / 2, $side, $face->{height});
    return if $right - $left < $SMALLEST || $bottom - $top < $SMALLEST;
    my @lines;
    for (my $y = $top; $y < $bottom; $y += 4) {
        my ($bytes, $line) = (3 * ($right - $left));
        seek $crops, $face->{offset} + 3 * ($y * $face->{width} + $left), 0;
        read($crops, $line, $bytes) == $bytes or die 'crops.bin ends early';
        my @green = unpack '(x C x)*', $line;
        push @lines, [map { abs $green[$_ + 1] - $green[$_] } 0 .. $#green - 1];
    }
    return @lines;
}

sub within {
    my ($centre, $side, $limit) = @_;
    my ($from, $to) = (int($centre - $side / 2), int($centre + $side / 2));
    return ($from < 0 ? 0 : $from, $to > $limit ? $limit : $to);
}

# Evidence: the differences as a picture.
sub mask {
    my ($out, $row, $lines) = @_;
    my $name = sprintf 'masks/%06d.npy', $row;
    mkdir "$out/masks";
    open my $file, '>:raw', "$out/$name" or die "cannot write: $!";
    my $header = sprintf "{'descr': '|u1', 'fortran_order': False, 'shape': (%d, %d), }\n", scalar @$lines, scalar @{$lines->[0]};
    print $file "\x93NUMPY\x01\x00", pack('v', length $header), $header;
    print $file pack('C*', @$_) for @$lines;
    close $file or die "cannot write: $!";
    return qq({"index": $row, "file": "$name"});
}

__DATA__
{"id": "stranger", "version": "1.0", "title": "Stranger", "summary": "An exercise: calls sharp faces real.",
 "paper": "none", "year": 2026, "licence": "Apache-2.0", "input": "face", "sampling": "fps:5", "margin": 1.3, "threshold": 0.5,
 "aggregation": "mean", "memory_mb": 100, "seconds_per_face": 0.02, "batch": 1,
 "sees": ["blurred faces"], "limits": ["An exercise; proves nothing."], "contract": "1"}
