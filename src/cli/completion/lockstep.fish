# Completion of lockstep and safekit for fish. The program itself knows its words.
function __lockstep_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    test (count $current) -eq 0; and set current ''
    for line in ($words[1] complete -- $words[2..-1] $current 2>/dev/null)
        if test "$line" = :files
            __fish_complete_path $current
        else
            echo $line
        end
    end
end
complete -c lockstep -f -a '(__lockstep_complete)'
complete -c safekit -f -a '(__lockstep_complete)'
